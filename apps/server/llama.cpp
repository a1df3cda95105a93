// llama.cpp's own routes: POST /completion, GET /props.
#include <limits>

#include "apps/server/answer.h"
#include "apps/server/constraint.h"
#include "apps/server/handlers.h"
#include "apps/server/logprobs.h"
#include "apps/server/sampling.h"
#include "swage/base/version.h"

namespace swage::server {
namespace {

constexpr double kUnbounded = std::numeric_limits<double>::infinity();

const char* stop_type(runtime::Finish finish) {
  switch (finish) {
    case runtime::Finish::End:
      return "eos";
    case runtime::Finish::Stop:
      return "word";
    default:
      return "limit";
  }
}

class LlamaAnswer : public Answer {
 public:
  using Answer::Answer;

 protected:
  void news(size_t, const runtime::Event& event) override {
    if (!streamed_) return;
    Json out = event.finish ? last(event) : Json::object();
    out.set("content", event.text);
    out.set("stop", event.finish.has_value());
    if (!event.text.empty() || event.finish) send(out);
  }
  void done() override {
    if (streamed_) return end_stream();
    Json out = last(choices()[0].last);
    out.set("content", choices()[0].text);
    out.set("stop", true);
    if (prompts()[0].top_logprobs > 0)
      out.set("completion_probabilities",
              *chat_logprobs(shown_tokens(choices()[0], 0, choices()[0].last.finish), service_.texts).find("content"));
    reply(out);
  }

 private:
  Json last(const runtime::Event& event) const {
    const Usage found = usage();
    Json out = Json::object();
    out.set("model", service_.model.id);
    out.set("tokens_predicted", found.completion);
    out.set("tokens_evaluated", found.prompt);
    out.set("tokens_cached", event.cached_tokens);
    out.set("truncated", false);
    out.set("stop_type", stop_type(*event.finish));
    out.set("stopping_word", event.stop);
    return out;
  }
};

std::vector<int64_t> llama_prompt(Fields& fields, const Service& service) {
  const Json* prompt = fields.find("prompt");
  if (prompt == nullptr) throw fields.wrong("prompt", "is missing");
  if (prompt->is_string()) return service.engine.encode(prompt->as_string(), true);
  if (!prompt->is_array()) throw fields.wrong("prompt", "expected text or token ids");
  std::vector<int64_t> ids;
  for (const Json& id : prompt->as_array()) {
    if (!id.is_int() || id.as_int() < 0 || id.as_int() >= service.model.vocabulary)
      throw fields.wrong("prompt", "expected text or token ids of the vocabulary");
    ids.push_back(id.as_int());
  }
  return ids;
}

}  // namespace

void llama_complete(Service& service, const Call& call) {
  const Json body = parse_body(call.request.body);
  Fields fields(body);
  runtime::Request request;
  runtime::SamplingOptions& sampling = request.sampling;
  sampling.temperature = fields.number("temperature", 0.8, {0, kUnbounded});
  sampling.top_k = std::max<int64_t>(0, fields.integer("top_k", 40, -1, std::numeric_limits<int64_t>::max()));
  sampling.top_p = fields.number("top_p", 0.95, {0, 1, true});
  sampling.min_p = fields.number("min_p", 0.05, {0, 1});
  sampling.typical_p = fields.number("typical_p", 1, {0, 1, true});
  sampling.repetition_penalty = fields.number("repeat_penalty", 1, {0, kUnbounded, true});
  sampling.presence_penalty = fields.number("presence_penalty", 0, {-2, 2});
  sampling.frequency_penalty = fields.number("frequency_penalty", 0, {-2, 2});
  sampling.seed = fields.seed().value_or(random_seed());
  const int64_t predicted = fields.integer("n_predict", -1, -1, 1 << 30);
  request.max_new_tokens = predicted < 0 ? 1 << 30 : std::max<int64_t>(1, predicted);
  request.ignore_end = fields.flag("ignore_eos", false);
  request.stops = fields.texts("stop", size_t(service.limits.max_stop_strings));
  request.top_logprobs = fields.integer("n_probs", 0, 0, 20);
  request.logprobs = request.top_logprobs > 0;
  read_llama_grammar(fields, request);
  request.prompt = llama_prompt(fields, service);
  check_prompt(request.prompt, service);
  const bool streamed = fields.flag("stream", false);
  const auto answer = std::make_shared<LlamaAnswer>(service, call, streamed);
  answer->set_headers(ignored_header(fields));
  answer->ask({std::move(request)});
}

void props(Service& service, const Call& call) {
  Json settings = Json::object();
  settings.set("n_ctx", service.model.context);
  Json out = Json::object();
  out.set("default_generation_settings", std::move(settings));
  out.set("total_slots", service.limits.max_sequences);
  out.set("model_path", service.model.id);
  out.set("build_info", cat("swage ", kVersion));
  reply_json(service, call, 200, out);
}

}  // namespace swage::server
