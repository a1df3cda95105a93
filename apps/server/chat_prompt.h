// Conversations on their way to token ids: messages in OpenAI's form, through the model's chat template.
#pragma once
#include "apps/server/fields.h"
#include "apps/server/service.h"

namespace swage::server {

struct ChatPrompt {
  Json messages, tools;  // as the template sees them
  std::string text;      // what the template made of them
  std::vector<int64_t> ids;
};

// From "messages", "tools", "chat_template_kwargs", "add_generation_prompt" and "continue_final_message". A last
// message of the assistant's is gone on with. `with_tools`: whether the template is shown the tools.
ChatPrompt read_chat_prompt(Fields& fields, const Service& service, bool with_tools);
// The same of messages that are made already.
ChatPrompt chat_prompt(Json messages, Json tools, Json variables, std::optional<bool> goes_on, const Service& service);

// Names of the tools. 400 where one has none.
std::vector<std::string> tool_names(const Json& tools);

}  // namespace swage::server
