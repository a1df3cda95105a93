// POST /v1/chat/completions.
#include <algorithm>
#include <utility>

#include "apps/server/answer.h"
#include "apps/server/chat_prompt.h"
#include "apps/server/constraint.h"
#include "apps/server/handlers.h"
#include "apps/server/logprobs.h"
#include "apps/server/sampling.h"
#include "apps/server/tool_calls.h"

namespace swage::server {
namespace {

constexpr int64_t kMostChatTop = 20;

struct ToolChoice {
  enum class Kind { None, Auto, Required, Named };
  Kind kind = Kind::None;
  std::string name;  // of a named one
  std::vector<std::string> names;
  bool parallel = true;
};

struct ChatForm {
  std::string id = new_id("chatcmpl-");
  int64_t created = now_seconds();
  StreamForm stream;
  ToolChoice tools;
};

ToolChoice::Kind kind_of(const std::string& word, const Fields& fields) {
  if (word == "none") return ToolChoice::Kind::None;
  if (word == "auto") return ToolChoice::Kind::Auto;
  if (word == "required") return ToolChoice::Kind::Required;
  throw fields.wrong("tool_choice", cat("\"", word.substr(0, 40), "\": expected none, auto, required or a function"));
}

ToolChoice read_tool_choice(Fields& fields) {
  using Kind = ToolChoice::Kind;
  ToolChoice out;
  const Json* tools = fields.find("tools");
  out.names = tools == nullptr ? std::vector<std::string>() : tool_names(*tools);
  out.parallel = fields.flag("parallel_tool_calls", true);
  const Json* choice = fields.find("tool_choice");
  if (choice != nullptr && !choice->is_string()) {
    const Json* function = choice->find("function");
    out.name = function == nullptr ? "" : function->get_string("name", "");
    out.kind = Kind::Named;
    if (std::find(out.names.begin(), out.names.end(), out.name) == out.names.end())
      throw fields.wrong("tool_choice", cat("\"", out.name.substr(0, 100), "\" is none of the tools"));
    return out;
  }
  out.kind = kind_of(choice == nullptr ? "auto" : choice->as_string(), fields);
  if (out.kind == Kind::Required && out.names.empty()) throw fields.wrong("tool_choice", "there are no tools");
  if (out.names.empty()) out.kind = Kind::None;
  return out;
}

Json call_json(const ToolCall& call) {
  Json function = Json::object();
  function.set("name", call.name);
  function.set("arguments", call.arguments);
  Json out = Json::object();
  out.set("id", new_id("call_"));
  out.set("type", "function");
  out.set("function", std::move(function));
  return out;
}

class ChatAnswer : public Answer {
 public:
  ChatAnswer(Service& service, Call call, ChatForm form)
      : Answer(service, std::move(call), form.stream.is_on),
        form_(std::move(form)) {}

 protected:
  void begin() override {
    for (size_t i = 0; i < choices().size(); ++i) {
      streams_.emplace_back(form_.tools.names);
      Json delta = Json::object();
      delta.set("role", "assistant");
      delta.set("content", "");
      send_delta(i, std::move(delta));
    }
  }

  void news(size_t index, const runtime::Event& event) override {
    if (!streamed_) return;
    send_news(index, event);
    if (event.finish) send_delta(index, Json::object(), {}, reason(*event.finish, streams_[index].calls > 0));
  }

  void done() override {
    if (!streamed_) return reply_whole();
    if (form_.stream.usage) {
      Json last = document("chat.completion.chunk", Json::array());
      last.set("usage", to_json(usage()));
      send(last);
    }
    send_text("data: [DONE]\n\n");
    end_stream();
  }

 private:
  // What a stream has told of a choice.
  struct Stream {
    explicit Stream(const std::vector<std::string>& names) : reader(names) {}
    ToolCallReader reader;
    int64_t calls = 0;
    size_t tokens = 0;
  };
  using Kind = ToolChoice::Kind;

  static const char* reason(runtime::Finish finish, bool calls) {
    return calls && finish != runtime::Finish::Length ? "tool_calls" : finish_reason(finish);
  }
  bool reads_calls() const { return form_.tools.kind == Kind::Auto || form_.tools.kind == Kind::Required; }

  void send_news(size_t index, const runtime::Event& event) {
    Stream& stream = streams_[index];
    Json logprobs;
    if (prompts()[0].logprobs) {
      const std::vector<ShownToken> shown = shown_tokens(choices()[index], stream.tokens, event.finish);
      if (!shown.empty()) logprobs = chat_logprobs(shown, service_.texts);
      stream.tokens = choices()[index].tokens.size();
    }
    if (form_.tools.kind == Kind::Named) return send_arguments(index, event.text);
    ToolCallReader::News found{event.text, {}};
    if (reads_calls()) {
      found = stream.reader.push(event.text);
      if (event.finish) {
        ToolCallReader::News rest = stream.reader.finish();
        found.content += rest.content;
        found.calls.insert(found.calls.end(), rest.calls.begin(), rest.calls.end());
      }
    }
    if (!found.content.empty() || !logprobs.is_null()) {
      Json delta = Json::object();
      delta.set("content", found.content);
      send_delta(index, std::move(delta), std::move(logprobs));
    }
    for (const ToolCall& call : found.calls) send_call(index, call_json(call));
  }

  void send_call(size_t index, Json call) {
    call.set("index", streams_[index].calls++);
    send_calls(index, std::move(call));
  }
  // The text is the arguments: a call whose name comes first.
  void send_arguments(size_t index, const std::string& text) {
    if (streams_[index].calls == 0) send_call(index, call_json({form_.tools.name, ""}));
    if (text.empty()) return;
    Json function = Json::object();
    function.set("arguments", text);
    Json call = Json::object();
    call.set("index", 0);
    call.set("function", std::move(function));
    send_calls(index, std::move(call));
  }
  void send_calls(size_t index, Json call) {
    Json calls = Json::array();
    calls.push_back(std::move(call));
    Json delta = Json::object();
    delta.set("tool_calls", std::move(calls));
    send_delta(index, std::move(delta));
  }

  void send_delta(size_t index, Json delta, Json logprobs = {}, const char* finish = nullptr) {
    Json choice = Json::object();
    choice.set("index", int64_t(index));
    choice.set("delta", std::move(delta));
    choice.set("logprobs", std::move(logprobs));
    choice.set("finish_reason", finish == nullptr ? Json() : Json(finish));
    Json list = Json::array();
    list.push_back(std::move(choice));
    send(document("chat.completion.chunk", std::move(list)));
  }

  Json document(const char* object, Json list) const {
    Json out = Json::object();
    out.set("id", form_.id);
    out.set("object", object);
    out.set("created", form_.created);
    out.set("model", service_.model.id);
    out.set("choices", std::move(list));
    return out;
  }

  Json choice_json(size_t index) const {
    const Choice& choice = choices()[index];
    std::string content = choice.text;
    std::vector<ToolCall> calls;
    if (form_.tools.kind == Kind::Named) {
      calls.push_back({form_.tools.name, std::exchange(content, {})});
    } else if (reads_calls()) {
      ToolCallReader reader(form_.tools.names);
      content.clear();
      for (const ToolCallReader::News& found : {reader.push(choice.text), reader.finish()}) {
        content += found.content;
        calls.insert(calls.end(), found.calls.begin(), found.calls.end());
      }
    }
    Json message = Json::object();
    message.set("role", "assistant");
    message.set("content", content.empty() && !calls.empty() ? Json() : Json(content));
    if (!calls.empty()) {
      Json list = Json::array();
      for (const ToolCall& call : calls) list.push_back(call_json(call));
      message.set("tool_calls", std::move(list));
    }
    Json out = Json::object();
    out.set("index", int64_t(index));
    out.set("message", std::move(message));
    const bool scored = prompts()[0].logprobs;
    out.set("logprobs", scored ? chat_logprobs(shown_tokens(choice, 0, choice.last.finish), service_.texts) : Json());
    out.set("finish_reason", reason(*choice.last.finish, !calls.empty()));
    return out;
  }

  void reply_whole() {
    Json list = Json::array();
    for (size_t i = 0; i < choices().size(); ++i) list.push_back(choice_json(i));
    Json out = document("chat.completion", std::move(list));
    out.set("usage", to_json(usage()));
    reply(out);
  }

  const ChatForm form_;
  std::vector<Stream> streams_;
};

void constrain(Fields& fields, const ToolChoice& tools, const Json& declared, runtime::Request& request) {
  read_response_format(fields, request);
  if (tools.kind == ToolChoice::Kind::Named) constrain_to_arguments(declared, tools.name, request);
  if (tools.kind == ToolChoice::Kind::Required) constrain_to_calls(declared, tools.parallel, request);
}

void read_chat_logprobs(Fields& fields, runtime::Request& request) {
  request.logprobs = fields.flag("logprobs", false);
  request.top_logprobs = fields.integer("top_logprobs", 0, 0, kMostChatTop);
  if (request.top_logprobs > 0 && !request.logprobs) throw fields.wrong("top_logprobs", "only with logprobs");
}

}  // namespace

void chat(Service& service, const Call& call) {
  const Json body = parse_body(call.request.body);
  Fields fields(body);
  check_model(fields, service);
  ChatForm form;
  runtime::Request request = read_sampling(fields, service);
  const int64_t unsaid = service.limits.default_max_tokens > 0 ? service.limits.default_max_tokens : 1 << 30;
  const int64_t old_name = fields.integer("max_tokens", unsaid, 1, 1 << 30);
  request.max_new_tokens = fields.integer("max_completion_tokens", old_name, 1, 1 << 30);
  read_chat_logprobs(fields, request);
  form.stream = read_stream(fields);
  form.tools = read_tool_choice(fields);
  const ChatPrompt prompt = read_chat_prompt(fields, service, form.tools.kind != ToolChoice::Kind::None);
  constrain(fields, form.tools, prompt.tools, request);
  request.prompt = prompt.ids;
  check_prompt(request.prompt, service);
  if (service.limits.log_prompts) service.http.note(call.id, "prompt", prompt.text);
  const auto answer = std::make_shared<ChatAnswer>(service, call, std::move(form));
  answer->set_headers(ignored_header(fields));
  answer->ask({std::move(request)});
}

}  // namespace swage::server
