// A model's chat template: Jinja2 as transformers runs it (rust/src/jinja), with bounded work and output.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "swage/base/json.h"

namespace swage::data {

struct ChatOptions {
  bool add_generation_prompt = false;
  // What a template's strftime_now prints: seconds since 1970-01-01 in the user's time zone. A fixed day (26 Jul 2024,
  // the one that Llama's templates fall back on) unless given, so that the same conversation is always the same text.
  int64_t now_seconds = 1'721'952'000;
  // Further names that the template sees, such as {"tools": [...], "enable_thinking": false}; null: none.
  Json variables = {};
};

// Thread-safe. A template is parsed and rendered on a thread of its own (rust/src/bounded.rs) with 10 million steps, 32
// MiB of output, 512 MiB of memory and 15 seconds of processor time at most. What cannot be made equal to Jinja2 is an
// error that names line and tag.
class ChatTemplate {
 public:
  // `name` stands in errors. Error(CorruptData) with the line if the template cannot be parsed.
  ChatTemplate(const std::string& source, std::string name);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;

  // `messages`: array of {"role", "content", ...}; `variables`: object of further names, as {"bos_token": "<s>"}.
  // Error(InvalidArgument) when the template raises, fails, or runs out of its limits.
  std::string render(const Json& messages, const Json& variables, const ChatOptions& options) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace swage::data
