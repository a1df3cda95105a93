// What the files of a model folder say about its tokenizer and its chat templates, read as transformers reads them.
#pragma once
#include <filesystem>
#include <map>
#include <string>

#include "swage/base/json.h"

namespace swage::data {

struct TemplateSource {
  std::string text, name;  // the name stands in errors
};

struct TokenizerFiles {
  std::string source;   // the file that the vocabulary comes from
  std::string json;     // tokenizer.json, or what transformers would make of the files that stand for it
  std::string changes;  // added tokens, BOS and EOS: for rust/src/tokenizer_parts.rs
  Json special_tokens = Json::object();             // {"bos_token": "<s>", ...}
  std::map<std::string, TemplateSource> templates;  // by name; the usual one is "default"
};

// tokenizer.json; without one tokenizer.model (SentencePiece: BPE of LlamaTokenizer, BPE and Unigram of
// PreTrainedTokenizerFast and TokenizersBackend) or vocab.json and merges.txt (GPT2Tokenizer, Qwen2Tokenizer). Beside
// it tokenizer_config.json, special_tokens_map.json, added_tokens.json, chat_template.jinja (.json),
// additional_chat_templates/. Error(Io) naming tokenizer.json if there is none of these, Error(Unsupported) for the
// tokenizer.model or vocab.json of another class.
TokenizerFiles read_tokenizer_files(const std::filesystem::path& folder);

}  // namespace swage::data
