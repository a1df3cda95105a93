// Text to tokens and back, as TGI, llama.cpp and vLLM ask for it.
#include <algorithm>

#include "apps/server/chat_prompt.h"
#include "apps/server/handlers.h"
#include "apps/server/logprobs.h"

namespace swage::server {
namespace {

Json list_of(const std::vector<int64_t>& ids) {
  Json out = Json::array();
  for (const int64_t id : ids) out.push_back(id);
  return out;
}

// [{"id", "text", "start", "stop"}]: where in the text a token lies, in characters.
Json spans_of(const Service& service, const std::vector<int64_t>& ids, const std::string& text) {
  const std::vector<std::string> pieces = service.engine.pieces(ids);
  const int64_t length = characters(text);
  Json out = Json::array();
  int64_t at = 0;
  size_t byte = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    // A token that is not in the text, as one for its beginning, takes no room.
    const bool is_in_text = text.compare(byte, pieces[i].size(), pieces[i]) == 0;
    const int64_t start = at;
    if (is_in_text) at = std::min(length, at + characters(pieces[i])), byte += pieces[i].size();
    if (i + 1 == ids.size()) at = length;
    Json one = Json::object();
    one.set("id", ids[i]);
    one.set("text", pieces[i]);
    one.set("start", start);
    one.set("stop", at);
    out.push_back(std::move(one));
  }
  return out;
}

void reply_tgi(Service& service, const Call& call, Fields& fields) {
  const std::string text = fields.text("inputs", "");
  const bool special = fields.flag("add_special_tokens", true);
  reply_json(service, call, 200, spans_of(service, service.engine.encode(text, special), text));
}

void reply_vllm(Service& service, const Call& call, const std::vector<int64_t>& ids) {
  Json out = Json::object();
  out.set("count", int64_t(ids.size()));
  out.set("max_model_len", service.model.context);
  out.set("tokens", list_of(ids));
  reply_json(service, call, 200, out);
}

}  // namespace

void tokenize(Service& service, const Call& call) {
  const Json body = parse_body(call.request.body);
  Fields fields(body);
  if (fields.find("inputs") != nullptr) return reply_tgi(service, call, fields);
  if (fields.find("messages") != nullptr) return reply_vllm(service, call, read_chat_prompt(fields, service, true).ids);
  if (fields.find("prompt") != nullptr)
    return reply_vllm(service, call,
                      service.engine.encode(fields.text("prompt", ""), fields.flag("add_special_tokens", true)));
  if (fields.find("content") == nullptr)
    throw fields.wrong("content", "is missing: inputs, prompt and messages would do too");
  const std::vector<int64_t> ids = service.engine.encode(fields.text("content", ""), fields.flag("add_special", false));
  Json list = list_of(ids);
  if (fields.flag("with_pieces", false)) {
    const std::vector<std::string> pieces = service.engine.pieces(ids);
    list = Json::array();
    for (size_t i = 0; i < ids.size(); ++i) {
      Json one = Json::object();
      one.set("id", ids[i]);
      one.set("piece", pieces[i]);
      list.push_back(std::move(one));
    }
  }
  Json out = Json::object();
  out.set("tokens", std::move(list));
  reply_json(service, call, 200, out);
}

void detokenize(Service& service, const Call& call) {
  const Json body = parse_body(call.request.body);
  Fields fields(body);
  const Json* tokens = fields.find("tokens");
  if (tokens == nullptr || !tokens->is_array()) throw fields.wrong("tokens", "expected a list of token ids");
  std::vector<int64_t> ids;
  for (const Json& id : tokens->as_array()) {
    if (!id.is_int()) throw fields.wrong("tokens", "expected a list of token ids");
    ids.push_back(id.as_int());
  }
  const std::string text = service.engine.decode(ids, false);
  Json out = Json::object();
  out.set("content", text);
  out.set("prompt", text);  // vLLM's name
  reply_json(service, call, 200, out);
}

void tgi_chat_tokenize(Service& service, const Call& call) {
  const Json body = parse_body(call.request.body);
  Fields fields(body);
  const ChatPrompt prompt = read_chat_prompt(fields, service, true);
  Json out = Json::object();
  out.set("templated_text", prompt.text);
  out.set("tokenize_response", spans_of(service, prompt.ids, prompt.text));
  reply_json(service, call, 200, out);
}

}  // namespace swage::server
