// Text Generation Inference's routes: POST /, /generate, /generate_stream, GET /info.
#include <algorithm>
#include <limits>

#include "apps/server/answer.h"
#include "apps/server/chat_prompt.h"
#include "apps/server/constraint.h"
#include "apps/server/handlers.h"
#include "apps/server/logprobs.h"
#include "apps/server/sampling.h"
#include "swage/base/version.h"

namespace swage::server {
namespace {

constexpr int64_t kMostTopTokens = 5, kMostBestOf = 8, kMostStops = 16;
constexpr int64_t kUsualNewTokens = 100;
constexpr double kAnyNumber = std::numeric_limits<double>::infinity();

struct TgiForm {
  bool as_list = false, streamed = false, details = false, prefill = false, full_text = false;
  std::string inputs;
  std::optional<int64_t> seed;  // of what was drawn
};

const char* tgi_reason(runtime::Finish finish) {
  switch (finish) {
    case runtime::Finish::End:
      return "eos_token";
    case runtime::Finish::Stop:
      return "stop_sequence";
    default:
      return "length";
  }
}

void read_tgi_sampling(Fields& fields, runtime::SamplingOptions& sampling, TgiForm& form) {
  const bool drawn = fields.flag("do_sample", false) || fields.find("temperature") != nullptr ||
                     fields.find("top_p") != nullptr || fields.find("top_k") != nullptr ||
                     fields.find("typical_p") != nullptr;
  const double temperature = fields.number("temperature", 1, {0, kAnyNumber, true});
  sampling.temperature = drawn ? temperature : 0;
  sampling.top_k = fields.integer("top_k", 0, 1, std::numeric_limits<int64_t>::max());
  sampling.top_p = fields.number("top_p", 1, {0, 1, true, true});
  sampling.typical_p = fields.number("typical_p", 1, {0, 1, true, true});
  sampling.repetition_penalty = fields.number("repetition_penalty", 1, {0, kAnyNumber, true});
  sampling.frequency_penalty = fields.number("frequency_penalty", 0, {-2, 2});
  const std::optional<uint64_t> seed = fields.seed();
  if (seed && int64_t(*seed) < 0) throw fields.wrong("seed", "expected an integer from 0 on");
  sampling.seed = seed.value_or(random_seed());
  if (drawn) form.seed = int64_t(sampling.seed);
}

void read_choices(Fields& fields, runtime::Request& request, const TgiForm& form) {
  request.choices = fields.integer("best_of", 1, 1, kMostBestOf);
  if (request.choices == 1) return;
  if (request.sampling.temperature == 0) throw fields.wrong("best_of", "only with do_sample");
  if (fields.find("seed") != nullptr) throw fields.wrong("best_of", "not with a seed");
  if (form.streamed) throw fields.wrong("best_of", "not with a stream");
}

void refuse_by_name(Fields& fields) {
  if (fields.flag("watermark", false)) throw fields.wrong("watermark", "is not supported");
  if (!fields.text("adapter_id", "").empty()) throw fields.wrong("adapter_id", "there are no adapters");
}

runtime::Request read_parameters(Fields& fields, TgiForm& form) {
  runtime::Request out;
  out.max_new_tokens = fields.integer("max_new_tokens", kUsualNewTokens, 1, 1 << 30);
  read_tgi_sampling(fields, out.sampling, form);
  out.stops = fields.texts("stop", size_t(kMostStops));
  for (const std::string& stop : out.stops) {
    if (stop.empty()) throw fields.wrong("stop", "an empty string");
  }
  form.full_text = fields.flag("return_full_text", false);
  form.details = fields.flag("details", false);
  form.prefill = fields.flag("decoder_input_details", false);
  if (form.prefill && form.streamed) throw fields.wrong("decoder_input_details", "not with a stream");
  out.prompt_logprobs = form.prefill;
  out.top_logprobs = fields.integer("top_n_tokens", 0, 0, kMostTopTokens);
  read_choices(fields, out, form);
  refuse_by_name(fields);
  read_tgi_grammar(fields, out);
  out.logprobs = true;
  return out;
}

std::vector<int64_t> truncated(std::vector<int64_t> ids, Fields& fields) {
  const auto most = size_t(fields.integer("truncate", int64_t(ids.size()), 1, std::numeric_limits<int64_t>::max()));
  if (ids.size() > most) ids.erase(ids.begin(), ids.end() - ptrdiff_t(most));
  return ids;
}

class TgiAnswer : public Answer {
 public:
  TgiAnswer(Service& service, Call call, TgiForm form)
      : Answer(service, std::move(call), form.streamed),
        form_(std::move(form)) {}

 protected:
  void news(size_t index, const runtime::Event& event) override {
    if (!streamed_) return;
    for (size_t i = 0; i < event.tokens.size(); ++i) {
      const bool is_last = event.finish && i + 1 == event.tokens.size();
      Json out = Json::object();
      out.set("index", ++sent_);
      out.set("token", token_json(event.tokens[i], is_last && event.finish == runtime::Finish::End));
      if (!event.tokens[i].top.empty()) out.set("top_tokens", top_json(event.tokens[i]));
      out.set("generated_text", is_last ? Json(generated(choices()[index], event)) : Json());
      out.set("details", is_last ? stream_details(event) : Json());
      send(out);
    }
  }

  void done() override {
    if (streamed_) return end_stream();
    std::vector<const Choice*> order;
    for (const Choice& choice : choices()) order.push_back(&choice);
    std::stable_sort(order.begin(), order.end(), [](const Choice* a, const Choice* b) { return mean(*a) > mean(*b); });
    Json out = Json::object();
    out.set("generated_text", generated(*order[0], order[0]->last));
    if (form_.details || form_.prefill) {
      Json details = details_of(*order[0]);
      Json others = Json::array();
      for (size_t i = 1; i < order.size(); ++i) {
        Json other = details_of(*order[i]);
        other.set("generated_text", generated(*order[i], order[i]->last));
        others.push_back(std::move(other));
      }
      if (order.size() > 1) details.set("best_of_sequences", std::move(others));
      out.set("details", std::move(details));
    }
    Json list = Json::array();
    if (form_.as_list) list.push_back(out);
    reply(form_.as_list ? list : out, times());
  }

 private:
  static double mean(const Choice& choice) {
    double sum = 0;
    for (const runtime::TokenInfo& token : choice.tokens) sum += token.logprob;
    return sum / double(std::max<size_t>(1, choice.tokens.size()));
  }

  // Unlike OpenAI's, the text ends with the string that stopped it.
  std::string generated(const Choice& choice, const runtime::Event& last) const {
    return (form_.full_text ? form_.inputs : "") + choice.text + last.stop;
  }

  Json token_json(const runtime::TokenInfo& token, bool is_end) const {
    Json out = Json::object();
    out.set("id", token.id);
    out.set("text", is_end ? service_.texts.of(token.id) : token.text);
    out.set("logprob", token.logprob);
    out.set("special", is_end || (token.text.empty() && service_.texts.is_special(token.id)));
    return out;
  }
  Json top_json(const runtime::TokenInfo& token) const {
    Json out = Json::array();
    for (const auto& [id, logprob] : token.top) {
      Json one = Json::object();
      one.set("id", id);
      one.set("text", service_.texts.of(id));
      one.set("logprob", logprob);
      one.set("special", service_.texts.is_special(id));
      out.push_back(std::move(one));
    }
    return out;
  }
  Json seed() const { return form_.seed ? Json(*form_.seed) : Json(); }

  Json stream_details(const runtime::Event& event) const {
    Json out = Json::object();
    out.set("finish_reason", tgi_reason(*event.finish));
    out.set("generated_tokens", sent_);
    out.set("seed", seed());
    out.set("input_length", int64_t(prompts()[0].prompt.size()));
    return out;
  }
  Json prefill_json() const {
    Json out = Json::array();
    if (!form_.prefill) return out;
    const std::vector<std::string> pieces = service_.engine.pieces(prompts()[0].prompt);
    for (const ShownToken& shown : shown_prompt(choices()[0].last.prompt, pieces)) {
      Json one = Json::object();
      one.set("id", shown.token->id);
      one.set("text", shown.text);
      one.set("logprob", shown.has_logprob ? Json(shown.token->logprob) : Json());
      out.push_back(std::move(one));
    }
    return out;
  }
  Json details_of(const Choice& choice) const {
    Json tokens = Json::array(), top = Json::array();
    const bool has_end = choice.last.finish == runtime::Finish::End;
    for (size_t i = 0; i < choice.tokens.size(); ++i) {
      tokens.push_back(token_json(choice.tokens[i], has_end && i + 1 == choice.tokens.size()));
      if (!choice.tokens[i].top.empty()) top.push_back(top_json(choice.tokens[i]));
    }
    Json out = Json::object();
    out.set("finish_reason", tgi_reason(*choice.last.finish));
    out.set("generated_tokens", int64_t(choice.tokens.size()));
    out.set("seed", seed());
    out.set("prefill", prefill_json());
    out.set("tokens", std::move(tokens));
    if (!top.as_array().empty()) out.set("top_tokens", std::move(top));
    return out;
  }

  net::HttpHeaders times() const {
    const auto ms = [](Clock::duration time) {
      return cat(std::chrono::duration_cast<std::chrono::milliseconds>(time).count());
    };
    const Clock::time_point now = Clock::now();
    const Usage found = usage();
    const Clock::duration inference = now - submitted();
    return {{"x-compute-type", "cpu"},
            {"x-total-time", ms(now - call_.live->began())},
            {"x-validation-time", ms(submitted() - call_.live->began())},
            {"x-queue-time", "0"},
            {"x-inference-time", ms(inference)},
            {"x-time-per-token", ms(inference / std::max<int64_t>(1, found.completion))},
            {"x-prompt-tokens", cat(found.prompt)},
            {"x-generated-tokens", cat(found.completion)}};
  }

  const TgiForm form_;
  int64_t sent_ = 0;  // events
};

void generate(Service& service, const Call& call, bool as_list, std::optional<bool> streamed) {
  const Json body = parse_body(call.request.body);
  Fields outer(body);
  TgiForm form;
  form.as_list = as_list;
  form.streamed = streamed ? *streamed : outer.flag("stream", false);
  const Json* inputs = outer.find("inputs");
  if (inputs == nullptr || !inputs->is_string()) throw outer.wrong("inputs", "expected text");
  form.inputs = inputs->as_string();
  if (form.inputs.empty()) throw outer.wrong("inputs", "is empty");
  const Json* given = outer.find("parameters");
  const Json parameters = given == nullptr ? Json::object() : *given;
  Fields fields(parameters, "parameters.");
  runtime::Request request = read_parameters(fields, form);
  request.prompt = truncated(service.engine.encode(form.inputs, true), fields);
  check_prompt(request.prompt, service);
  if (service.limits.log_prompts) service.http.note(call.id, "prompt", form.inputs);
  const auto answer = std::make_shared<TgiAnswer>(service, call, std::move(form));
  answer->set_headers(ignored_header(fields));
  answer->ask({std::move(request)});
}

}  // namespace

void tgi_generate(Service& service, const Call& call) { generate(service, call, false, false); }
void tgi_generate_stream(Service& service, const Call& call) { generate(service, call, false, true); }
void tgi_compatible(Service& service, const Call& call) { generate(service, call, true, {}); }

void tgi_info(Service& service, const Call& call) {
  Json out = Json::object();
  out.set("model_id", service.model.id);
  out.set("model_sha", nullptr);
  out.set("model_pipeline_tag", "text-generation");
  out.set("max_concurrent_requests", service.limits.max_requests);
  out.set("max_best_of", kMostBestOf);
  out.set("max_stop_sequences", kMostStops);
  out.set("max_input_tokens", service.model.context - 1);
  out.set("max_total_tokens", service.model.context);
  out.set("validation_workers", 2);
  out.set("max_client_batch_size", 128);
  out.set("router", "swage");
  out.set("version", kVersion);
  out.set("sha", nullptr);
  out.set("docker_label", nullptr);
  reply_json(service, call, 200, out);
}

}  // namespace swage::server
