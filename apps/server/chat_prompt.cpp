#include "apps/server/chat_prompt.h"

#include <algorithm>

namespace swage::server {
namespace {

constexpr size_t kMostMessages = 4096, kMostTools = 128;

std::string content_of(const Json& content, const std::string& where) {
  if (content.is_null()) return {};
  if (content.is_string()) return content.as_string();
  if (!content.is_array()) throw bad_field(where, "expected text or a list of parts");
  std::string out;
  for (const Json& part : content.as_array()) {
    if (part.is_string()) {
      out += part.as_string();
      continue;
    }
    const Json* type = part.find("type");
    const std::string kind = type != nullptr && type->is_string() ? type->as_string() : "";
    const Json* text = part.find("text");
    if (kind != "text" && kind != "input_text" && kind != "output_text")
      throw bad_field(where, cat("a part of type \"", kind.substr(0, 40), "\": this model takes text"));
    if (text == nullptr || !text->is_string()) throw bad_field(where, "a part has no text");
    out += text->as_string();
  }
  return out;
}

// Templates want the arguments of calls as objects; clients send them as text.
Json calls_of(const Json& calls, const std::string& where) {
  if (!calls.is_array()) throw bad_field(where, "expected a list");
  Json out = Json::array();
  for (Json call : calls.as_array()) {
    const Json* function = call.find("function");
    if (function == nullptr || !function->is_object()) throw bad_field(where, "a call has no function");
    Json inner = *function;
    const Json* arguments = inner.find("arguments");
    if (arguments != nullptr && arguments->is_string()) {
      try {
        inner.set("arguments", parse_json(arguments->as_string(), "arguments"));
      } catch (const Error&) {  // left as the text that it is
      }
    }
    call.set("function", std::move(inner));
    out.push_back(std::move(call));
  }
  return out;
}

std::string role_of(const Json& message, const std::string& where, bool has_developer) {
  const Json* role = message.find("role");
  if (role == nullptr || !role->is_string()) throw bad_field(where + ".role", "expected a string");
  const std::string& name = role->as_string();
  for (const char* known : {"system", "user", "assistant", "tool"}) {
    if (name == known) return name;
  }
  if (name == "developer") return has_developer ? name : "system";
  throw bad_field(where + ".role",
                  cat("\"", name.substr(0, 40), "\": expected system, developer, user, assistant or tool"));
}

// The member, or null where it is absent or null.
const Json* member(const Json& object, const char* name) {
  const Json* value = object.find(name);
  return value == nullptr || value->is_null() ? nullptr : value;
}

Json message_of(const Json& message, const std::string& where, bool has_developer) {
  if (!message.is_object()) throw bad_field(where, "expected an object");
  Json out = Json::object();
  out.set("role", role_of(message, where, has_developer));
  const Json* content = member(message, "content");
  const Json* calls = member(message, "tool_calls");
  if (content == nullptr && calls == nullptr) throw bad_field(where + ".content", "is missing");
  out.set("content", content == nullptr ? std::string() : content_of(*content, where + ".content"));
  if (calls != nullptr) out.set("tool_calls", calls_of(*calls, where + ".tool_calls"));
  for (const char* more : {"name", "tool_call_id"}) {
    if (const Json* value = member(message, more)) out.set(more, *value);
  }
  return out;
}

Json messages_of(Fields& fields, const Service& service) {
  const Json* list = fields.find("messages");
  if (list == nullptr) throw fields.wrong("messages", "is missing");
  if (!list->is_array() || list->as_array().empty()) throw fields.wrong("messages", "expected a list of messages");
  if (list->as_array().size() > kMostMessages) throw fields.wrong("messages", cat("more than ", kMostMessages));
  const bool has_developer = service.engine.chat_template_mentions("developer");
  Json out = Json::array();
  for (const Json& message : list->as_array())
    out.push_back(message_of(message, cat("messages[", out.as_array().size(), "]"), has_developer));
  return out;
}

// For templates that know no tools: what they are, before everything else.
void describe_tools(Json& messages, const Json& tools) {
  std::string text = "You may call one or more functions. They are, as JSON:\n";
  for (const Json& tool : tools.as_array()) text += tool.dump() + "\n";
  text +=
      "For each call write a JSON object with the function's name and its arguments within <tool_call> and "
      "</tool_call>:\n<tool_call>{\"name\": NAME, \"arguments\": {...}}</tool_call>";
  Json::Array& list = messages.as_array();
  if (!list.empty() && list[0].get_string("role", "") == "system") {
    list[0].set("content", list[0].get_string("content", "") + "\n\n" + text);
    return;
  }
  Json system = Json::object();
  system.set("role", "system");
  system.set("content", text);
  list.insert(list.begin(), std::move(system));
}

bool is_assistants(const Json& messages) {
  const Json& last = messages.as_array().back();
  return last.get_string("role", "") == "assistant" && last.find("tool_calls") == nullptr;
}

// The text up to the end of the last message's content: what a template puts behind it is cut off.
std::string open_text(const std::string& text, const std::string& content) {
  const size_t end = content.find_last_not_of(" \t\r\n");
  const std::string visible = end == std::string::npos ? std::string() : content.substr(0, end + 1);
  const size_t at = text.rfind(visible);
  if (visible.empty() || at == std::string::npos) return text;
  return text.substr(0, at) + content;
}

}  // namespace

std::vector<std::string> tool_names(const Json& tools) {
  std::vector<std::string> out;
  if (tools.is_null()) return out;
  if (!tools.is_array() || tools.as_array().size() > kMostTools)
    throw bad_field("tools", cat("expected a list of at most ", kMostTools));
  for (const Json& tool : tools.as_array()) {
    const Json* function = tool.find("function");
    const Json* name = function == nullptr ? nullptr : function->find("name");
    if (name == nullptr || !name->is_string() || name->as_string().empty())
      throw bad_field("tools", "expected {\"type\": \"function\", \"function\": {\"name\": ...}}");
    out.push_back(name->as_string());
  }
  return out;
}

ChatPrompt chat_prompt(Json messages, Json tools, Json variables, std::optional<bool> goes_on, const Service& service) {
  if (!service.engine.has_chat_template())
    throw ApiError(400, "invalid_request_error", "the model has no chat template: use /v1/completions", "messages",
                   "unsupported");
  ChatPrompt out;
  if (!tools.is_null() && !tools.as_array().empty()) {
    if (service.engine.chat_template_mentions("tools"))
      variables.set("tools", tools);
    else
      describe_tools(messages, tools);
  }
  const bool open = goes_on.value_or(is_assistants(messages)) && is_assistants(messages);
  out.text = service.engine.render_chat(messages, variables, !open);
  if (open) out.text = open_text(out.text, messages.as_array().back().get_string("content", ""));
  out.ids = service.engine.encode(out.text, false);
  out.messages = std::move(messages);
  out.tools = std::move(tools);
  return out;
}

ChatPrompt read_chat_prompt(Fields& fields, const Service& service, bool with_tools) {
  const Json* tools = fields.find("tools");
  const Json* variables = fields.find("chat_template_kwargs");
  if (variables != nullptr && !variables->is_object()) throw fields.wrong("chat_template_kwargs", "expected an object");
  std::optional<bool> goes_on;
  if (fields.find("continue_final_message") != nullptr) goes_on = fields.flag("continue_final_message", false);
  if (fields.flag("add_generation_prompt", false) && !goes_on) goes_on = false;
  return chat_prompt(messages_of(fields, service), tools == nullptr || !with_tools ? Json() : *tools,
                     variables == nullptr ? Json::object() : *variables, goes_on, service);
}

}  // namespace swage::server
