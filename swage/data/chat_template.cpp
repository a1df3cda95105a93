#include "swage/data/chat_template.h"

#include <utility>

#include "swage/base/utf8.h"
#include "swage/data/bridge.h"

namespace swage::data {

struct ChatTemplate::State {
  std::string name;
  rust::Box<bridge::ChatTemplate> compiled;
};

ChatTemplate::ChatTemplate(const std::string& source, std::string name) {
  SWAGE_CHECK(valid_utf8_prefix(source) == source.size(), CorruptData, name, ": chat template is not UTF-8");
  auto compiled = call_bridge(ErrorKind::CorruptData, name, [&] { return bridge::chat_template(as_str(source)); });
  state_ = std::make_unique<State>(State{std::move(name), std::move(compiled)});
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;

std::string ChatTemplate::render(const Json& messages, const Json& variables, const ChatOptions& options) const {
  SWAGE_CHECK(messages.is_array(), InvalidArgument, state_->name, ": messages must be an array of objects");
  const std::string messages_text = messages.dump(), variables_text = variables.dump();
  SWAGE_CHECK(valid_utf8_prefix(messages_text) == messages_text.size(), InvalidArgument, state_->name,
              ": a message is not UTF-8");
  const rust::String text = call_bridge(ErrorKind::InvalidArgument, state_->name, [&] {
    return state_->compiled->render(as_str(messages_text), as_str(variables_text), options.add_generation_prompt,
                                    options.now_seconds);
  });
  return std::string(text);
}

}  // namespace swage::data
