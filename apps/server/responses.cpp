// POST /v1/responses in its text form: one answer, nothing kept.
#include "apps/server/answer.h"
#include "apps/server/chat_prompt.h"
#include "apps/server/constraint.h"
#include "apps/server/handlers.h"
#include "apps/server/sampling.h"

namespace swage::server {
namespace {

struct ResponseForm {
  std::string id = new_id("resp_"), message_id = new_id("msg_");
  int64_t created = now_seconds();
  bool streamed = false;
  Json request;  // of which some fields are given back
};

Json message_item(const Json& item, const std::string& where) {
  if (!item.is_object()) throw bad_field(where, "expected an object");
  const std::string type = item.get_string("type", "message");
  if (type != "message")
    throw bad_field(where, cat("an item of type \"", type.substr(0, 40), "\": only messages are taken"));
  return item;
}

// "input" and "instructions" as the messages of a chat.
Json messages_in(Fields& fields) {
  Json out = Json::array();
  const auto add = [&](const char* role, const std::string& text) {
    Json message = Json::object();
    message.set("role", role);
    message.set("content", text);
    out.push_back(std::move(message));
  };
  if (const std::string system = fields.text("instructions", ""); !system.empty()) add("system", system);
  const Json* input = fields.find("input");
  if (input == nullptr) throw fields.wrong("input", "is missing");
  if (input->is_string()) {
    add("user", input->as_string());
    return out;
  }
  if (!input->is_array() || input->as_array().empty())
    throw fields.wrong("input", "expected text or a list of messages");
  for (const Json& item : input->as_array()) out.push_back(message_item(item, "input"));
  return out;
}

void refuse_state(Fields& fields) {
  if (!fields.text("previous_response_id", "").empty())
    throw fields.wrong("previous_response_id", "responses are not kept");
  if (fields.flag("background", false)) throw fields.wrong("background", "is not supported");
  const Json* tools = fields.find("tools");
  if (tools != nullptr && !(tools->is_array() && tools->as_array().empty()))
    throw fields.wrong("tools", "are taken by /v1/chat/completions");
}

// text.format is response_format with what json_schema holds one level up.
void read_text_format(Fields& fields, runtime::Request& request) {
  const Json* text = fields.find("text");
  const Json* format = text == nullptr ? nullptr : text->find("format");
  if (format == nullptr || format->is_null()) return;
  Json wrapped = Json::object();
  wrapped.set("response_format", *format);
  Fields inner(wrapped, "text.");
  read_response_format(inner, request);
}

class ResponseAnswer : public Answer {
 public:
  ResponseAnswer(Service& service, Call call, ResponseForm form)
      : Answer(service, std::move(call), form.streamed),
        form_(std::move(form)) {}

 protected:
  void begin() override {
    tell_response("response.created", "in_progress");
    tell_response("response.in_progress", "in_progress");
    Json item = at_item("response.output_item.added");
    item.erase("item_id");
    item.set("item", message("in_progress", false));
    tell(std::move(item));
    Json part = at_content("response.content_part.added");
    part.set("part", content(""));
    tell(std::move(part));
  }

  void news(size_t, const runtime::Event& event) override {
    if (!streamed_ || event.text.empty()) return;
    Json delta = at_content("response.output_text.delta");
    delta.set("delta", event.text);
    delta.set("logprobs", Json::array());
    tell(std::move(delta));
  }

  void done() override {
    if (!streamed_) return reply(response(status(), true));
    Json text = at_content("response.output_text.done");
    text.set("text", choices()[0].text);
    text.set("logprobs", Json::array());
    tell(std::move(text));
    Json part = at_content("response.content_part.done");
    part.set("part", content(choices()[0].text));
    tell(std::move(part));
    Json item = at_item("response.output_item.done");
    item.erase("item_id");
    item.set("item", message(status(), true));
    tell(std::move(item));
    tell_response(cat("response.", status()), status());
    end_stream();
  }

  void fail_stream(const ApiError& error) override {
    Json out = Json::object();
    out.set("type", "error");
    out.set("code", error.code);
    out.set("message", error.what());
    out.set("param", nullptr);
    tell(std::move(out));
  }

 private:
  const char* status() const {
    return choices()[0].last.finish == runtime::Finish::Length ? "incomplete" : "completed";
  }

  void tell(Json event) {
    event.set("sequence_number", number_++);
    send_text(cat("event: ", event.get_string("type", ""), "\n", sse(event)));
  }
  void tell_response(const std::string& type, const std::string& status) {
    Json out = Json::object();
    out.set("type", type);
    out.set("response", response(status, status != "in_progress"));
    tell(std::move(out));
  }
  Json at_item(const char* type) const {
    Json out = Json::object();
    out.set("type", type);
    out.set("item_id", form_.message_id);
    out.set("output_index", 0);
    return out;
  }
  Json at_content(const char* type) const {
    Json out = at_item(type);
    out.set("content_index", 0);
    return out;
  }
  static Json content(const std::string& text) {
    Json out = Json::object();
    out.set("type", "output_text");
    out.set("text", text);
    out.set("annotations", Json::array());
    out.set("logprobs", Json::array());
    return out;
  }
  Json message(const std::string& status, bool whole) const {
    Json parts = Json::array();
    if (whole) parts.push_back(content(choices()[0].text));
    Json out = Json::object();
    out.set("type", "message");
    out.set("id", form_.message_id);
    out.set("status", status);
    out.set("role", "assistant");
    out.set("content", std::move(parts));
    return out;
  }
  Json usage_json() const {
    const Usage found = usage();
    Json input = Json::object(), output = Json::object(), out = Json::object();
    input.set("cached_tokens", found.cached);
    output.set("reasoning_tokens", 0);
    out.set("input_tokens", found.prompt);
    out.set("input_tokens_details", std::move(input));
    out.set("output_tokens", found.completion);
    out.set("output_tokens_details", std::move(output));
    out.set("total_tokens", found.prompt + found.completion);
    return out;
  }
  Json response(const std::string& status, bool whole) const {
    Json output = Json::array();
    if (whole) output.push_back(message(status, true));
    Json incomplete;
    if (status == "incomplete") incomplete.set("reason", "max_output_tokens");
    Json out = Json::object();
    out.set("id", form_.id);
    out.set("object", "response");
    out.set("created_at", form_.created);
    out.set("status", status);
    out.set("error", nullptr);
    out.set("incomplete_details", std::move(incomplete));
    out.set("model", service_.model.id);
    out.set("output", std::move(output));
    out.set("usage", whole ? usage_json() : Json());
    for (const char* name : {"instructions", "max_output_tokens", "temperature", "top_p", "metadata", "text", "user"}) {
      const Json* value = form_.request.find(name);
      out.set(name, value == nullptr ? Json() : *value);
    }
    out.set("parallel_tool_calls", true);
    out.set("previous_response_id", nullptr);
    out.set("tool_choice", "auto");
    out.set("tools", Json::array());
    out.set("truncation", "disabled");
    return out;
  }

  const ResponseForm form_;
  int64_t number_ = 0;  // of the next event
};

}  // namespace

void respond(Service& service, const Call& call) {
  const Json body = parse_body(call.request.body);
  Fields fields(body);
  check_model(fields, service);
  runtime::Request request = read_sampling(fields, service);
  if (request.choices > 1) throw fields.wrong("n", "a response is one answer");
  const int64_t unsaid = service.limits.default_max_tokens > 0 ? service.limits.default_max_tokens : 1 << 30;
  request.max_new_tokens = fields.integer("max_output_tokens", unsaid, 1, 1 << 30);
  refuse_state(fields);
  read_text_format(fields, request);
  Json conversation = Json::object();
  conversation.set("messages", messages_in(fields));
  Fields messages(conversation);
  request.prompt = read_chat_prompt(messages, service, false).ids;
  check_prompt(request.prompt, service);
  ResponseForm form;
  form.streamed = fields.flag("stream", false);
  form.request = body;
  fields.ignore({"text", "truncation", "include", "reasoning", "parallel_tool_calls", "tool_choice"});
  const auto answer = std::make_shared<ResponseAnswer>(service, call, std::move(form));
  answer->set_headers(ignored_header(fields));
  answer->ask({std::move(request)});
}

}  // namespace swage::server
