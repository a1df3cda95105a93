// The model's own tokenizer (tokenizer.json) and chat template, run by the Hugging Face tokenizers and minijinja crates.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "swage/base/json.h"

namespace swage::data {

// Thread-safe. Errors name the file.
class Tokenizer {
 public:
  // Reads tokenizer.json, tokenizer_config.json, chat_template.jinja and generation_config.json of a model folder.
  // Error(Io) naming tokenizer.json if there is none, Error(CorruptData) if it cannot be read.
  explicit Tokenizer(const std::filesystem::path& model_folder);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;

  std::vector<int64_t> encode(std::string_view text, bool add_special_tokens) const;
  // Many texts at once, in parallel; same order.
  std::vector<std::vector<int64_t>> encode_batch(const std::vector<std::string>& texts, bool add_special_tokens) const;
  std::string decode(const std::vector<int64_t>& ids, bool skip_special_tokens) const;
  int64_t vocabulary_size() const;

  bool has_chat_template() const;
  // `messages`: array of {"role", "content"}. Error(InvalidArgument) without a template or when it raises.
  std::string apply_chat_template(const Json& messages, bool add_generation_prompt) const;

  // Ids that a tokenizer prepends by itself (a BOS), empty for most.
  std::vector<int64_t> prefix_ids() const;
  // Where generation stops: eos_token_id of generation_config.json, config.json or tokenizer_config.json.
  std::vector<int64_t> end_ids() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace swage::data
