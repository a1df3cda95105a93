// The model's own tokenizer (tokenizer.json) and chat template, run by the Hugging Face tokenizers crate and an
// interpreter of Jinja2.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "swage/base/json.h"
#include "swage/data/chat_template.h"

namespace swage::bridge {
struct Tokenizer;
}

namespace swage::data {

// Thread-safe. Errors name the file. Texts must be UTF-8 (Error(InvalidArgument)). encode_batch runs on the tokenizers
// crate's own threads; results do not depend on their number.
class Tokenizer {
 public:
  // Reads tokenizer.json of a model folder, or what stands for it, and the files beside it (tokenizer_files.h),
  // config.json and generation_config.json. Error(Io) naming tokenizer.json if there is none, Error(CorruptData) if it
  // cannot be read.
  explicit Tokenizer(const std::filesystem::path& model_folder);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;

  std::vector<int64_t> encode(std::string_view text, bool add_special_tokens) const;
  // Many texts at once, in parallel; same order.
  std::vector<std::vector<int64_t>> encode_batch(const std::vector<std::string>& texts, bool add_special_tokens) const;
  // Ids outside the vocabulary: Error(InvalidArgument) for negative ones, nothing in the text for others.
  std::string decode(const std::vector<int64_t>& ids, bool skip_special_tokens) const;
  int64_t vocabulary_size() const;

  bool has_chat_template() const;
  // `messages`: array of {"role", "content"}. Error(InvalidArgument) without a template or when it raises,
  // Error(CorruptData) if the template is not valid Jinja.
  std::string apply_chat_template(const Json& messages, const ChatOptions& options) const;
  std::string apply_chat_template(const Json& messages, bool add_generation_prompt) const;
  // Whether the name stands in the template, as a word.
  bool chat_template_mentions(std::string_view name) const;
  // {"bos_token": "<s>", ...}
  const Json& special_tokens() const;

  const bridge::Tokenizer& inner() const;  // for this folder

  // Ids that a tokenizer prepends by itself (a BOS), empty for most.
  std::vector<int64_t> prefix_ids() const;
  // Where generation stops: eos_token_id of generation_config.json, config.json or tokenizer_config.json.
  std::vector<int64_t> end_ids() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Text of a growing sequence of ids, piece by piece: a character whose bytes are spread over several tokens comes out
// when it is complete. The pieces, joined, are decode() of all ids. The tokenizer must outlive it. Not thread-safe.
class TextStream {
 public:
  explicit TextStream(const Tokenizer& tokenizer, bool skip_special_tokens = true)
      : tokenizer_(tokenizer),
        skip_special_tokens_(skip_special_tokens) {}
  // Takes one more id; returns the text that is now certain, often one word, sometimes nothing.
  std::string push(int64_t id);
  // What is left at the end: an incomplete character comes out as U+FFFD.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_tokens_;
  std::vector<int64_t> ids_;  // from the last boundary on: text before `shown_` has been returned
  std::string shown_;
  size_t shown_ids_ = 0;
};

}  // namespace swage::data
