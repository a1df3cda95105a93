#include "swage/data/tokenizer_files.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>
#include <vector>

#include "swage/base/error.h"
#include "swage/base/file.h"
#include "swage/base/utf8.h"
#include "swage/data/bridge.h"
#include "swage/data/tokenizer_class.h"

namespace swage::data {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMaxTokenizerBytes = uint64_t{256} << 20;  // the largest tokenizer.json known is 35 MB
constexpr uint64_t kMaxTemplateBytes = uint64_t{16} << 20;    // the longest template known has some 60 kB
constexpr int kMaxTemplates = 64;                             // of additional_chat_templates/; models have up to four

// Qwen2Tokenizer of transformers; every digit stands alone.
constexpr const char* kQwen2Pattern =
    R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";

Json read_optional_json(const fs::path& file) { return is_there(file) ? read_json_file(file) : Json(); }

// A special token stands in the configs as "<s>" or as {"content": "<s>", ...}.
const std::string* token_text(const Json& value) {
  if (value.is_string()) return &value.as_string();
  const Json* content = value.find("content");
  return content != nullptr && content->is_string() ? &content->as_string() : nullptr;
}

struct Sources {
  Json config, special_map, added_tokens;
  std::string tokenizer_class;  // that of transformers
};

std::string class_of(const fs::path& folder, const Json& config) {
  return tokenizer_class(config.get_string("tokenizer_class", ""),
                         read_optional_json(folder / "config.json").get_string("model_type", ""));
}

// Sets what `to` does not have.
void set_missing(const Json& members, Json& to) {
  for (const auto& [name, value] : members.as_object()) {
    if (to.find(name) == nullptr) to.set(name, value);
  }
}

// The tokens that a class has unless the files say other.
Json class_tokens(const std::string& name) {
  Json tokens = Json::object();
  if (takes_files_as_they_are(name)) return tokens;
  if (name == "LlamaTokenizer") {
    tokens.set("unk_token", "<unk>");
    tokens.set("bos_token", "<s>");
    tokens.set("eos_token", "</s>");
  } else {
    if (name == "GPT2Tokenizer") tokens.set("bos_token", "<|endoftext|>");
    if (name == "Qwen2Tokenizer") tokens.set("pad_token", "<|endoftext|>");
    tokens.set("unk_token", "<|endoftext|>");
    tokens.set("eos_token", "<|endoftext|>");
  }
  return tokens;
}

Json byte_level(bool add_prefix_space, bool use_regex) {
  Json json = Json::object();
  json.set("type", "ByteLevel");
  json.set("add_prefix_space", add_prefix_space);
  json.set("trim_offsets", true);
  json.set("use_regex", use_regex);
  return json;
}

// "a b" a line, below a line that begins with #version.
Json read_merges(const fs::path& file) {
  const std::string text = read_regular_file(file, kMaxTokenizerBytes);
  SWAGE_CHECK(valid_utf8_prefix(text) == text.size(), CorruptData, file.string(), ": the merges are not UTF-8");
  Json merges = Json::array();
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty() && !(at == 0 && line.starts_with("#version"))) merges.push_back(std::move(line));
    at = end + 1;
  }
  return merges;
}

std::string json_of_merges(const fs::path& folder, const Sources& sources) {
  Json model = Json::object(), tokenizer = Json::object();
  model.set("type", "BPE");
  model.set("continuing_subword_prefix", "");
  model.set("end_of_word_suffix", "");
  model.set("vocab",
            parse_json(read_regular_file(folder / "vocab.json", kMaxTokenizerBytes), (folder / "vocab.json").string()));
  model.set("merges", read_merges(folder / "merges.txt"));
  const bool add_prefix_space = sources.config.get_bool("add_prefix_space", false);
  Json pre_tokenizer = byte_level(add_prefix_space, /*use_regex=*/true);
  if (sources.tokenizer_class == "Qwen2Tokenizer") {
    Json split = Json::object(), normalizer = Json::object(), pattern = Json::object();
    pattern.set("Regex", kQwen2Pattern);
    split.set("type", "Split");
    split.set("pattern", std::move(pattern));
    split.set("behavior", "Isolated");
    split.set("invert", false);
    pre_tokenizer = Json::object();
    pre_tokenizer.set("type", "Sequence");
    pre_tokenizer.set("pretokenizers",
                      Json(Json::Array{std::move(split), byte_level(add_prefix_space, /*use_regex=*/false)}));
    normalizer.set("type", "NFC");
    tokenizer.set("normalizer", std::move(normalizer));
  }
  tokenizer.set("version", "1.0");
  tokenizer.set("added_tokens", Json::array());
  tokenizer.set("pre_tokenizer", std::move(pre_tokenizer));
  tokenizer.set("decoder", byte_level(/*add_prefix_space=*/true, /*use_regex=*/true));
  tokenizer.set("model", std::move(model));
  return tokenizer.dump();
}

// Where LlamaTokenizer puts a space before the text.
std::string llama_prepend_scheme(const Json& config) {
  const Json* add_prefix_space = config.find("add_prefix_space");
  const bool without_prefix =
      add_prefix_space != nullptr && add_prefix_space->is_bool() && !add_prefix_space->as_bool();
  return without_prefix ? "never" : config.get_bool("legacy", false) ? "always" : "first";
}

// {"5": "<|x|>"} of added_tokens_decoder.
Json names_by_id(const Json& config) {
  Json names = Json::object();
  const Json* decoder = config.find("added_tokens_decoder");
  if (decoder == nullptr || !decoder->is_object()) return names;
  for (const auto& [id, token] : decoder->as_object()) {
    if (const std::string* text = token_text(token)) names.set(id, *text);
  }
  return names;
}

// Where a space is put before the text, by a class without rules of its own whose model asks for one.
std::string plain_prepend_scheme(const Json& config) {
  const Json* legacy = config.find("legacy");
  return legacy == nullptr || (legacy->is_bool() && legacy->as_bool()) ? "always" : "first";
}

bridge::SentencePiece converted(const fs::path& file, const Sources& sources) {
  const std::string model = read_regular_file(file, kMaxTokenizerBytes), names = names_by_id(sources.config).dump();
  const std::string scheme = takes_files_as_they_are(sources.tokenizer_class) ? plain_prepend_scheme(sources.config)
                                                                              : llama_prepend_scheme(sources.config);
  try {
    return call_bridge(ErrorKind::CorruptData, file.string(), [&] {
      return bridge::convert_sentencepiece({reinterpret_cast<const uint8_t*>(model.data()), model.size()},
                                           as_str(sources.tokenizer_class), as_str(scheme), as_str(names));
    });
  } catch (const Error& error) {  // a model of another kind is no broken one; the bridge knows one kind of failure
    if (std::string_view(error.what()).find("is not supported") == std::string_view::npos) throw;
    throw Error(ErrorKind::Unsupported, error.what());
  }
}

// "normalized" of every token of added_tokens_decoder becomes false.
void match_raw_text(Json& config) {
  const Json* decoder = config.find("added_tokens_decoder");
  if (decoder == nullptr || !decoder->is_object()) return;
  Json changed = Json::object();
  for (const auto& [id, token] : decoder->as_object()) {
    Json raw = token;
    if (raw.is_object()) raw.set("normalized", false);
    changed.set(id, std::move(raw));
  }
  config.set("added_tokens_decoder", std::move(changed));
}

// Fills in vocabulary, the tokens that the model itself adds to it, and, for a class without rules, special tokens.
void convert_sentencepiece(const fs::path& file, Sources& sources, TokenizerFiles& files, Json& added) {
  const bridge::SentencePiece made = converted(file, sources);
  if (made.tokens_match_raw_text) match_raw_text(sources.config);
  files.json = std::string(made.json);
  added = parse_json(std::string(made.tokens), file.string());
  set_missing(parse_json(std::string(made.special), file.string()), files.special_tokens);
}

// Fills in the vocabulary; special tokens of the class where the files that it is made of have none; in `added` the
// tokens that a SentencePiece model says are looked for before a text is taken apart.
void read_vocabulary(const fs::path& folder, Sources& sources, TokenizerFiles& files, Json& added) {
  const fs::path json = folder / "tokenizer.json", model = folder / "tokenizer.model",
                 vocabulary = folder / "vocab.json";
  const std::string& name = sources.tokenizer_class;
  files.source = json.string();
  if (is_there(json)) {
    files.json = read_regular_file(json, kMaxTokenizerBytes);
    if (name == "GPT2Tokenizer" || name == "Qwen2Tokenizer") set_missing(class_tokens(name), files.special_tokens);
    return;
  }
  const bool has_model = is_there(model), has_merges = is_there(vocabulary) && is_there(folder / "merges.txt");
  constexpr std::string_view kWayOut =
      "transformers writes one: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)";
  SWAGE_CHECK(has_model || has_merges, Io, json.string(), ": the model's tokenizer is missing; ",
              is_there(folder / "vocab.txt") || is_there(vocabulary)
                  ? kWayOut
                  : "copy it from the model that this one was made of");
  files.source = (has_model ? model : vocabulary).string();
  const bool known = has_model ? name == "LlamaTokenizer" || takes_files_as_they_are(name)
                               : name == "GPT2Tokenizer" || name == "Qwen2Tokenizer";
  SWAGE_CHECK(known, Unsupported, files.source, ": a tokenizer of class \"", name,
              "\" without tokenizer.json is not supported; ", kWayOut);
  if (has_model)
    convert_sentencepiece(model, sources, files, added);
  else
    files.json = json_of_merges(folder, sources);
  set_missing(class_tokens(name), files.special_tokens);
}

// {"image_token": "<image>"}: special tokens by what they are for.
const Json* tokens_by_role(const Json& config) {
  const Json* extra = config.find("extra_special_tokens");
  return extra != nullptr && extra->is_object() ? extra : nullptr;
}

// Adds every NAME_token member of `config`, and every role of its extra tokens, that `tokens` does not have yet.
void add_special_tokens(const Json& config, const fs::path& file, Json& tokens) {
  if (!config.is_object()) return;
  constexpr size_t kMostTokens = 4096;  // each is looked for among the others; those of real models have a few hundred
  const auto add = [&](const std::string& name, const Json& value) {
    const std::string* text = token_text(value);
    if (text == nullptr || tokens.find(name) != nullptr) return;
    SWAGE_CHECK(tokens.as_object().size() < kMostTokens, CorruptData, file.string(), ": more than ", kMostTokens,
                " special tokens with names");
    tokens.set(name, *text);
  };
  for (const auto& [name, value] : config.as_object()) {
    if (name.ends_with("_token")) add(name, value);
  }
  if (const Json* roles = tokens_by_role(config)) {
    for (const auto& [name, value] : roles->as_object()) add(name, value);
  }
}

// {"5": {"content": ...}} or {"content": 5} as tokens in the order of their ids.
std::vector<Json> tokens_by_id(const Json& decoder, const Json& added_tokens) {
  std::vector<std::pair<int64_t, Json>> tokens;
  if (decoder.is_object()) {
    for (const auto& [id, token] : decoder.as_object()) {
      int64_t number = 0;
      const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), number);
      SWAGE_CHECK(error == std::errc() && end == id.data() + id.size() && token_text(token) != nullptr, CorruptData,
                  "added_tokens_decoder: expected ids with tokens, found \"", id, "\"");
      tokens.emplace_back(number, token);
    }
  } else if (added_tokens.is_object()) {
    for (const auto& [text, id] : added_tokens.as_object()) {
      SWAGE_CHECK(id.is_int(), CorruptData, "added_tokens.json: the id of \"", text, "\" is not an integer");
      Json token = Json::object();
      token.set("content", text);
      tokens.emplace_back(id.as_int(), std::move(token));
    }
  }
  std::stable_sort(tokens.begin(), tokens.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Json> sorted;
  for (auto& [id, token] : tokens) sorted.push_back(std::move(token));
  return sorted;
}

// A token that is special because it has a name; added only if the vocabulary does not know it as one.
Json named_token(const std::string& text) {
  Json token = Json::object();
  token.set("content", text);
  token.set("special", true);
  token.set("named", true);
  return token;
}

// A special token, by itself or spelled out, which then says what may stand around it.
void add_named(const Json& token, Json& tokens) {
  const std::string* text = token_text(token);
  if (text == nullptr) return;
  Json named = named_token(*text);
  for (const char* flag : {"lstrip", "rstrip", "single_word", "normalized"}) {
    const Json* value = token.is_object() ? token.find(flag) : nullptr;
    if (value != nullptr && value->is_bool()) named.set(flag, *value);
  }
  tokens.push_back(std::move(named));
}

// The special token `name` as the file that names it has it.
const Json& as_spelled(const Sources& sources, const std::string& name, const Json& text) {
  for (const Json* config : {&sources.config, &sources.special_map}) {
    const Json* roles = tokens_by_role(*config);
    for (const Json* members : {config, roles}) {
      const Json* token = members == nullptr ? nullptr : members->find(name);
      if (token != nullptr && token_text(*token) != nullptr && *token_text(*token) == text.as_string()) return *token;
    }
  }
  return text;
}

Json added_tokens(const Sources& sources, const Json& special_tokens, const Json& of_model) {
  const Json* decoder = sources.config.find("added_tokens_decoder");
  Json tokens = Json::array();
  for (Json& token : tokens_by_id(decoder == nullptr ? Json() : *decoder, sources.added_tokens)) {
    if (!token.is_object()) token = named_token(token.as_string());
    tokens.push_back(std::move(token));
  }
  // The named ones of every tokenizer come first, in the order of transformers' SPECIAL_TOKENS_ATTRIBUTES.
  constexpr std::string_view kNamed[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                         "pad_token", "cls_token", "mask_token"};
  for (const std::string_view name : kNamed) {
    const Json* text = special_tokens.find(name);
    if (text != nullptr) add_named(as_spelled(sources, std::string(name), *text), tokens);
  }
  for (const auto& [name, text] : special_tokens.as_object()) {
    if (std::find(std::begin(kNamed), std::end(kNamed), name) == std::end(kNamed))
      add_named(as_spelled(sources, name, text), tokens);
  }
  for (const Json* source : {&sources.config, &sources.special_map}) {
    for (const char* name : {"additional_special_tokens", "extra_special_tokens"}) {
      const Json* extra = source->find(name);
      if (extra == nullptr || !extra->is_array()) continue;
      for (const Json& token : extra->as_array()) add_named(token, tokens);
    }
  }
  for (const Json& token : of_model.as_array()) tokens.push_back(token);
  return tokens;
}

// What add_bos_token and add_eos_token ask for: the tokens around a text; null when neither is there. A tokenizer.json
// has this in its post-processor, and transformers takes it from there whatever the flags beside it say.
Json frame_of(const Json& config, const Json& special_tokens) {
  Json frame;
  for (const char* end : {"bos", "eos"}) {
    const Json* flag = config.find(cat("add_", end, "_token"));
    if (flag == nullptr || !flag->is_bool()) continue;
    if (frame.is_null()) frame = Json::object();
    const Json* text = special_tokens.find(cat(end, "_token"));
    if (flag->as_bool() && text != nullptr) frame.set(end, *text);
  }
  return frame;
}

// What a class does to a tokenizer.json that says other; null where it has no say.
Json class_rules(const Sources& sources) {
  const std::string& name = sources.tokenizer_class;
  Json rules = Json::object();
  if (name == "LlamaTokenizer") {
    rules.set("prepend_scheme", llama_prepend_scheme(sources.config));
  } else if (name == "GPT2Tokenizer" || name == "Qwen2Tokenizer") {
    const Json* flag = sources.config.find("add_prefix_space");
    const bool said = flag != nullptr && flag->is_bool();
    rules.set("add_prefix_space", said && flag->as_bool());
    rules.set("said", said);
  } else {
    return {};
  }
  return rules;
}

// `chat_template` of a config: one template, or a list of named ones.
void add_templates(const Json& config, const fs::path& file, std::map<std::string, TemplateSource>& templates) {
  const Json* value = config.find("chat_template");
  if (value == nullptr) return;
  if (value->is_string()) templates.emplace("default", TemplateSource{value->as_string(), file.string()});
  if (!value->is_array()) return;
  for (const Json& entry : value->as_array()) {
    const std::string name = entry.get_string("name", "");
    templates.emplace(
        name, TemplateSource{entry.get_string("template", ""), cat(file.string(), ", chat template \"", name, "\"")});
  }
}

// The order of transformers: files of their own win over tokenizer_config.json.
std::map<std::string, TemplateSource> find_templates(const fs::path& folder, const Json& config) {
  std::map<std::string, TemplateSource> templates;
  const auto add_file = [&](const std::string& name, const fs::path& file) {
    templates.emplace(name, TemplateSource{read_regular_file(file, kMaxTemplateBytes), file.string()});
  };
  if (is_there(folder / "chat_template.jinja")) add_file("default", folder / "chat_template.jinja");
  std::vector<fs::path> more;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder / "additional_chat_templates", ignored)) {
    if (entry.path().extension() == ".jinja" && more.size() < kMaxTemplates) more.push_back(entry.path());
  }
  std::sort(more.begin(), more.end());
  for (const fs::path& file : more) add_file(file.stem().string(), file);
  if (templates.empty())
    add_templates(read_optional_json(folder / "chat_template.json"), folder / "chat_template.json", templates);
  if (templates.empty()) add_templates(config, folder / "tokenizer_config.json", templates);
  return templates;
}

}  // namespace

TokenizerFiles read_tokenizer_files(const fs::path& folder) {
  Sources sources;
  TokenizerFiles files;
  const fs::path config = folder / "tokenizer_config.json";
  sources.config = read_optional_json(config);
  sources.special_map = read_optional_json(folder / "special_tokens_map.json");
  sources.added_tokens = read_optional_json(folder / "added_tokens.json");
  sources.tokenizer_class = class_of(folder, sources.config);
  add_special_tokens(sources.config, config, files.special_tokens);
  add_special_tokens(sources.special_map, folder / "special_tokens_map.json", files.special_tokens);
  Json of_model = Json::array();
  read_vocabulary(folder, sources, files, of_model);
  files.templates = find_templates(folder, sources.config);
  Json changes = Json::object();
  try {
    changes.set("tokens", added_tokens(sources, files.special_tokens, of_model));
  } catch (Error& error) {
    error.add_context(folder.string());
    throw;
  }
  if (is_there(folder / "tokenizer.json"))
    changes.set("class_rules", class_rules(sources));
  else
    changes.set("frame", frame_of(sources.config, files.special_tokens));
  changes.set("split_special_tokens", sources.config.get_bool("split_special_tokens", false));
  files.changes = changes.dump();
  return files;
}

}  // namespace swage::data
