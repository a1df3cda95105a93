#include "swage/convert/gguf_tokenizer.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <vector>

#include "swage/base/error.h"
#include "swage/io/tensor_spec.h"

namespace swage::pipeline {
namespace {

using Files = std::map<std::string, std::string>;

// Kinds of tokens, in GGUF as in SentencePiece.
constexpr int64_t kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kByte = 6;

const std::string kPrefix = "tokenizer.ggml.";

const Json::Array* list_of(const GgufKeys& keys, const std::string& name) {
  const Json* found = keys.find(kPrefix + name);
  return found != nullptr && found->is_array() ? &found->as_array() : nullptr;
}

std::string text_of(const GgufKeys& keys, const std::string& name) {
  const Json* found = keys.find(kPrefix + name);
  return found != nullptr && found->is_string() ? found->as_string() : "";
}

bool flag_of(const GgufKeys& keys, const std::string& name, bool fallback) {
  const Json* found = keys.find(kPrefix + name);
  return found != nullptr && found->is_bool() ? found->as_bool() : fallback;
}

struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<int64_t> kinds;
  std::vector<double> scores;  // empty: none

  const std::string* token(const GgufKeys& keys, const char* key) const {
    const Json* id = keys.find(kPrefix + key);
    const bool is_there = id != nullptr && id->is_int() && id->as_int() >= 0 && id->as_int() < int64_t(tokens.size());
    return is_there ? &tokens[size_t(id->as_int())] : nullptr;
  }
};

Vocabulary vocabulary_of(const GgufKeys& keys) {
  Vocabulary out;
  const Json::Array *tokens = list_of(keys, "tokens"), *kinds = list_of(keys, "token_type"),
                    *scores = list_of(keys, "scores");
  SWAGE_CHECK(tokens != nullptr, CorruptData, "tokenizer.ggml.tokens is missing");
  for (const Json& token : *tokens) out.tokens.push_back(token.as_string());
  out.kinds.assign(out.tokens.size(), kNormal);
  SWAGE_CHECK(kinds == nullptr || kinds->size() == out.tokens.size(), CorruptData, "tokenizer.ggml.token_type has ",
              kinds == nullptr ? 0 : kinds->size(), " entries for ", out.tokens.size(), " tokens");
  SWAGE_CHECK(scores == nullptr || scores->size() == out.tokens.size(), CorruptData, "tokenizer.ggml.scores has ",
              scores == nullptr ? 0 : scores->size(), " entries for ", out.tokens.size(), " tokens");
  for (size_t i = 0; kinds != nullptr && i < out.tokens.size(); ++i) out.kinds[i] = (*kinds)[i].as_int();
  for (size_t i = 0; scores != nullptr && i < out.tokens.size(); ++i) out.scores.push_back((*scores)[i].as_double());
  return out;
}

Json object(std::initializer_list<std::pair<std::string, Json>> members) { return Json::Object(members); }

Json byte_level(bool use_regex) {
  return object({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}});
}

// The words of GPT-4's splits, digits in runs of so many.
Json split_like_gpt4(const char* digits) {
  const std::string expression = cat("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}", digits,
                                     "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+");
  return object({{"type", "Sequence"},
                 {"pretokenizers", Json::Array{object({{"type", "Split"},
                                                       {"pattern", object({{"Regex", expression}})},
                                                       {"behavior", "Isolated"},
                                                       {"invert", false}}),
                                               byte_level(false)}}});
}

enum class Splits { Gpt2, SingleDigits, Llama3, Qwen2 };

// How texts are split before the merges, by tokenizer.ggml.pre.
Splits splits_of(const std::string& pre) {
  constexpr auto kNames = std::to_array<std::pair<std::string_view, Splits>>({
      {"gpt-2", Splits::Gpt2},
      {"mpt", Splits::Gpt2},
      {"olmo", Splits::Gpt2},
      {"jais", Splits::Gpt2},
      {"smollm", Splits::SingleDigits},
      {"starcoder", Splits::SingleDigits},
      {"refact", Splits::SingleDigits},
      {"command-r", Splits::SingleDigits},
      {"exaone", Splits::SingleDigits},
      {"llama-bpe", Splits::Llama3},
      {"llama3", Splits::Llama3},
      {"llama-v3", Splits::Llama3},
      {"dbrx", Splits::Llama3},
      {"smaug-bpe", Splits::Llama3},
      {"falcon3", Splits::Llama3},
      {"qwen2", Splits::Qwen2},
      {"stablelm2", Splits::Qwen2},
      {"hunyuan", Splits::Qwen2},
  });
  const auto* found = std::find_if(kNames.begin(), kNames.end(), [&](const auto& one) { return one.first == pre; });
  SWAGE_CHECK(found != kNames.end(), Unsupported, "tokenizer.ggml.pre ", io::quoted(pre),
              " is not known; gpt-2, smollm, llama-bpe and qwen2 and those that split alike are");
  return found->second;
}

Json splitting(Splits splits) {
  switch (splits) {
    case Splits::Gpt2:
      break;
    case Splits::SingleDigits:
      return object({{"type", "Sequence"},
                     {"pretokenizers",
                      Json::Array{object({{"type", "Digits"}, {"individual_digits", true}}), byte_level(true)}}});
    case Splits::Llama3:
      return split_like_gpt4("{1,3}");
    case Splits::Qwen2:
      return split_like_gpt4("");
  }
  return byte_level(true);
}

// Puts the tokens around a text that the file asks for.
Json framing(const GgufKeys& keys, const Vocabulary& vocabulary, bool begins) {
  const std::string* bos = begins ? vocabulary.token(keys, "bos_token_id") : nullptr;
  const std::string* eos = flag_of(keys, "add_eos_token", false) ? vocabulary.token(keys, "eos_token_id") : nullptr;
  if (bos == nullptr && eos == nullptr) return byte_level(true);
  Json one = Json::array(), two = Json::array(), special = Json::object();
  const auto token = [&](const std::string& text, const char* key) {
    const Json piece = object({{"SpecialToken", object({{"id", text}, {"type_id", int64_t{0}}})}});
    special.set(text,
                object({{"id", text}, {"ids", Json::Array{*keys.find(kPrefix + key)}}, {"tokens", Json::Array{text}}}));
    return piece;
  };
  const auto sequence = [](const char* id, int64_t type) {
    return object({{"Sequence", object({{"id", id}, {"type_id", type}})}});
  };
  for (Json* form : {&one, &two}) {
    if (bos != nullptr) form->push_back(token(*bos, "bos_token_id"));
    form->push_back(sequence("A", 0));
    if (form == &two) form->push_back(sequence("B", 1));
    if (eos != nullptr) form->push_back(token(*eos, "eos_token_id"));
  }
  return object({{"type", "TemplateProcessing"}, {"single", one}, {"pair", two}, {"special_tokens", special}});
}

Json added_tokens(const Vocabulary& vocabulary) {
  Json out = Json::array();
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const int64_t kind = vocabulary.kinds[i];
    if (kind != kControl && kind != kUserDefined) continue;
    out.push_back(object({{"id", int64_t(i)},
                          {"content", vocabulary.tokens[i]},
                          {"single_word", false},
                          {"lstrip", false},
                          {"rstrip", false},
                          {"normalized", false},
                          {"special", kind == kControl}}));
  }
  return out;
}

// Byte-level BPE.
std::string tokenizer_json(const GgufKeys& keys, const Vocabulary& vocabulary, const std::string& pre, bool begins) {
  Json::Object ids;
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) ids.emplace_back(vocabulary.tokens[i], int64_t(i));
  Json merges = Json::array();
  const Json::Array* given = list_of(keys, "merges");
  SWAGE_CHECK(given != nullptr, CorruptData, "tokenizer.ggml.merges is missing");
  for (const Json& merge : *given) {
    const std::string& pair = merge.as_string();
    const size_t space = pair.find(' ', 1);  // the first part may be one of its own
    SWAGE_CHECK(space != std::string::npos, CorruptData, "tokenizer.ggml.merges: ", io::quoted(pair), " is no pair");
    merges.push_back(Json::Array{pair.substr(0, space), pair.substr(space + 1)});
  }
  const bool is_llama3 = pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3";
  return object({{"version", "1.0"},
                 {"truncation", nullptr},
                 {"padding", nullptr},
                 {"added_tokens", added_tokens(vocabulary)},
                 {"normalizer", pre == "qwen2" ? object({{"type", "NFC"}}) : Json(nullptr)},
                 {"pre_tokenizer", splitting(splits_of(pre))},
                 {"post_processor", framing(keys, vocabulary, begins)},
                 {"decoder", byte_level(true)},
                 {"model", object({{"type", "BPE"},
                                   {"dropout", nullptr},
                                   {"unk_token", nullptr},
                                   {"continuing_subword_prefix", nullptr},
                                   {"end_of_word_suffix", nullptr},
                                   {"fuse_unk", false},
                                   {"byte_fallback", false},
                                   {"ignore_merges", is_llama3},
                                   {"vocab", Json(std::move(ids))},
                                   {"merges", std::move(merges)}})}})
      .dump(1);
}

// Protocol buffers, as far as SentencePiece's model file needs them.
class Message {
 public:
  Message& number(int field, uint64_t value) {
    varint(uint64_t(field) << 3);
    varint(value);
    return *this;
  }
  Message& real(int field, float value) {
    varint(uint64_t(field) << 3 | 5);
    const auto bits = std::bit_cast<uint32_t>(value);
    for (int i = 0; i < 4; ++i) bytes_ += char(bits >> (8 * i) & 255);
    return *this;
  }
  Message& text(int field, std::string_view value) {
    varint(uint64_t(field) << 3 | 2);
    varint(value.size());
    bytes_ += value;
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void varint(uint64_t value) {
    for (; value > 127; value >>= 7) bytes_ += char((value & 127) | 128);
    bytes_ += char(value);
  }
  std::string bytes_;
};

// ModelProto: 1 pieces (1 piece, 2 score, 3 type), 2 trainer_spec, 3 normalizer_spec.
// Source: https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
std::string tokenizer_model(const GgufKeys& keys, const Vocabulary& vocabulary) {
  SWAGE_CHECK(!vocabulary.scores.empty(), CorruptData, "tokenizer.ggml.scores is missing");
  Message out;
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i)
    out.text(1, Message()
                    .text(1, vocabulary.tokens[i])
                    .real(2, float(vocabulary.scores[i]))
                    .number(3, uint64_t(vocabulary.kinds[i]))
                    .bytes());
  constexpr uint64_t kBpe = 2;
  const bool has_bytes = std::find(vocabulary.kinds.begin(), vocabulary.kinds.end(), kByte) != vocabulary.kinds.end();
  Message trainer;
  trainer.number(3, kBpe).number(4, vocabulary.tokens.size()).number(35, has_bytes ? 1 : 0);
  const auto unknown = std::find(vocabulary.kinds.begin(), vocabulary.kinds.end(), kUnknown);
  if (unknown != vocabulary.kinds.end()) trainer.number(40, uint64_t(unknown - vocabulary.kinds.begin()));
  for (const auto& [field, key] : {std::pair(41, "bos_token_id"), std::pair(42, "eos_token_id")}) {
    const Json* id = keys.find(kPrefix + key);
    if (id != nullptr && id->is_int() && id->as_int() >= 0) trainer.number(field, uint64_t(id->as_int()));
  }
  Message normalizer;
  normalizer.text(1, "identity").number(3, flag_of(keys, "add_space_prefix", true) ? 1 : 0).number(4, 0).number(5, 1);
  return out.text(2, trainer.bytes()).text(3, normalizer.bytes()).bytes();
}

Json tokenizer_config(const GgufKeys& keys, const Vocabulary& vocabulary, bool begins) {
  Json out = object({{"tokenizer_class", "PreTrainedTokenizerFast"}, {"add_bos_token", begins}});
  out.set("add_eos_token", flag_of(keys, "add_eos_token", false));
  out.set("clean_up_tokenization_spaces", false);
  for (const auto& [name, key] :
       {std::pair("bos_token", "bos_token_id"), std::pair("eos_token", "eos_token_id"),
        std::pair("unk_token", "unknown_token_id"), std::pair("pad_token", "padding_token_id")}) {
    if (const std::string* token = vocabulary.token(keys, key)) out.set(name, *token);
  }
  const auto unknown = std::find(vocabulary.kinds.begin(), vocabulary.kinds.end(), kUnknown);
  if (out.find("unk_token") == nullptr && unknown != vocabulary.kinds.end())
    out.set("unk_token", vocabulary.tokens[size_t(unknown - vocabulary.kinds.begin())]);
  const Json* chat = keys.find("tokenizer.chat_template");
  if (chat != nullptr && chat->is_string()) out.set("chat_template", *chat);
  return out;
}

}  // namespace

Files gguf_tokenizer(const GgufKeys& keys) {
  const std::string model = text_of(keys, "model"), pre = text_of(keys, "pre");
  if (model.empty() || model == "none") return {};
  SWAGE_CHECK(model == "gpt2" || model == "llama", Unsupported, "tokenizer.ggml.model ", io::quoted(model),
              " is not known; gpt2 (byte-level BPE) and llama (SentencePiece's BPE) are");
  const Vocabulary vocabulary = vocabulary_of(keys);
  if (model == "llama") {
    const bool begins = flag_of(keys, "add_bos_token", true);
    // The class that does what the file says; LlamaTokenizer has rules of its own for spaces before a text.
    return {{"tokenizer.model", tokenizer_model(keys, vocabulary)},
            {"tokenizer_config.json", tokenizer_config(keys, vocabulary, begins).dump(2) + "\n"}};
  }
  const bool begins = flag_of(keys, "add_bos_token", pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3");
  return {{"tokenizer.json", tokenizer_json(keys, vocabulary, pre.empty() ? "gpt-2" : pre, begins)},
          {"tokenizer_config.json", tokenizer_config(keys, vocabulary, begins).dump(2) + "\n"}};
}

}  // namespace swage::pipeline
