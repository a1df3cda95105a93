// POST /v1/completions: prompts as text or token ids, continued.
#include "apps/server/answer.h"
#include "apps/server/constraint.h"
#include "apps/server/handlers.h"
#include "apps/server/logprobs.h"
#include "apps/server/prompts.h"
#include "apps/server/sampling.h"

namespace swage::server {
namespace {

constexpr int64_t kMostTop = 20;

struct CompletionForm {
  std::string id = new_id("cmpl-");
  int64_t created = now_seconds();
  StreamForm stream;
  bool echo = false, logprobs = false;
  std::vector<std::string> texts;  // of the prompts, with echo
};

void read_logprobs(Fields& fields, runtime::Request& request, CompletionForm& form) {
  if (fields.find("logprobs") == nullptr) return;
  form.logprobs = request.logprobs = true;
  request.top_logprobs = fields.integer("logprobs", 0, 0, kMostTop);
}

class Completion : public Answer {
 public:
  Completion(Service& service, Call call, CompletionForm form)
      : Answer(service, std::move(call), form.stream.is_on),
        form_(std::move(form)) {}

 protected:
  void begin() override { offsets_.resize(choices().size()), sent_.resize(choices().size()); }

  void news(size_t index, const runtime::Event& event) override {
    if (!streamed_) return;
    const Choice& choice = choices()[index];
    const bool is_first = sent_[index] == 0 && offsets_[index] == 0;
    const std::string text = is_first ? echoed(index) + event.text : event.text;
    if (text.empty() && !form_.logprobs && !event.finish) return;
    Json logprobs;
    if (form_.logprobs) {
      std::vector<ShownToken> shown = shown_tokens(choice, sent_[index], event.finish);
      logprobs = completion_logprobs(shown, service_.texts, offsets_[index]);
      sent_[index] = choice.tokens.size();
    } else {
      sent_[index] = 1;
    }
    Json choices = Json::array();
    choices.push_back(choice_json(index, text, std::move(logprobs), event.finish));
    send(document(std::move(choices)));
  }

  void done() override {
    if (!streamed_) return reply_whole();
    if (form_.stream.usage) {
      Json last = document(Json::array());
      last.set("usage", to_json(usage()));
      send(last);
    }
    send_text("data: [DONE]\n\n");
    end_stream();
  }

 private:
  std::string echoed(size_t index) const { return form_.echo ? form_.texts[index / size_t(choices_each())] : ""; }

  Json document(Json choices) const {
    Json out = Json::object();
    out.set("id", form_.id);
    out.set("object", "text_completion");
    out.set("created", form_.created);
    out.set("model", service_.model.id);
    out.set("choices", std::move(choices));
    return out;
  }
  static Json choice_json(size_t index, const std::string& text, Json logprobs,
                          const std::optional<runtime::Finish>& finish) {
    Json out = Json::object();
    out.set("index", int64_t(index));
    out.set("text", text);
    out.set("logprobs", std::move(logprobs));
    out.set("finish_reason", finish ? Json(finish_reason(*finish)) : Json());
    return out;
  }
  Json logprobs_of(size_t index) const {
    const Choice& choice = choices()[index];
    const size_t prompt = index / size_t(choices_each());
    std::vector<ShownToken> shown;
    if (form_.echo) {
      const std::vector<runtime::TokenInfo>& scored = choices()[prompt * size_t(choices_each())].last.prompt;
      shown = shown_prompt(scored, service_.engine.pieces(prompts()[prompt].prompt));
    }
    const std::vector<ShownToken> made = shown_tokens(choice, 0, choice.last.finish);
    shown.insert(shown.end(), made.begin(), made.end());
    int64_t offset = 0;
    return completion_logprobs(shown, service_.texts, offset);
  }
  void reply_whole() {
    Json list = Json::array();
    for (size_t i = 0; i < choices().size(); ++i) {
      const Choice& choice = choices()[i];
      list.push_back(
          choice_json(i, echoed(i) + choice.text, form_.logprobs ? logprobs_of(i) : Json(), choice.last.finish));
    }
    Json out = document(std::move(list));
    out.set("usage", to_json(usage()));
    reply(out);
  }

  const CompletionForm form_;
  std::vector<int64_t> offsets_;  // characters that each choice's stream has shown
  std::vector<size_t> sent_;      // tokens
};

}  // namespace

void complete(Service& service, const Call& call) {
  const Json body = parse_body(call.request.body);
  Fields fields(body);
  check_model(fields, service);
  CompletionForm form;
  runtime::Request request = read_sampling(fields, service);
  request.max_new_tokens = fields.integer("max_tokens", 16, 0, 1 << 30);
  request.best_of = fields.integer("best_of", 0, 0, service.limits.max_best_of);
  read_logprobs(fields, request, form);
  read_response_format(fields, request);
  form.echo = fields.flag("echo", false);
  form.stream = read_stream(fields);
  if (!fields.text("suffix", "").empty()) throw fields.wrong("suffix", "is not supported");
  if (form.stream.is_on && request.best_of > request.choices) throw fields.wrong("best_of", "not with stream");
  if (form.stream.is_on && form.echo && form.logprobs) throw fields.wrong("echo", "not with logprobs and stream");
  request.prompt_logprobs = request.max_new_tokens == 0 || (form.echo && form.logprobs);
  std::vector<runtime::Request> requests;
  for (Prompt& prompt : read_prompts(fields, "prompt", service, form.echo)) {
    requests.push_back(request);
    requests.back().prompt = std::move(prompt.ids);
    form.texts.push_back(std::move(prompt.text));
  }
  if (int64_t(requests.size()) * request.choices > kMostPrompts)
    throw fields.wrong("n", cat("more than ", kMostPrompts, " choices of all prompts"));
  if (service.limits.log_prompts) service.http.note(call.id, "prompt", *body.find("prompt"));
  const auto answer = std::make_shared<Completion>(service, call, std::move(form));
  answer->set_headers(ignored_header(fields));
  answer->ask(std::move(requests));
}

}  // namespace swage::server
