#include <algorithm>
#include <chrono>
#include <map>

#include "swage/base/error.h"
#include "swage/swage.h"

namespace swage {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_between(Clock::time_point start, Clock::time_point end) {
  return std::chrono::duration<double>(end - start).count();
}

Json message(const char* role, const std::string& content) {
  Json out = Json::object();
  out.set("role", role);
  out.set("content", content);
  return out;
}

std::vector<int64_t> prompt_ids(const GenerateOptions& options, const Engine& engine, const std::string& prompt) {
  if (!options.chat || !engine.has_chat_template()) return engine.encode(prompt, true);
  Json messages = Json::array();
  if (!options.system.empty()) messages.push_back(message("system", options.system));
  messages.push_back(message("user", prompt));
  return engine.encode_chat(messages);
}

// What came of all prompts, while it comes.
class Answers {
 public:
  explicit Answers(size_t prompts) : prompts_(prompts) {}

  void take(size_t prompt, runtime::Event&& event) {
    if (!event.tokens.empty() && first_token_ == Clock::time_point()) first_token_ = Clock::now();
    One& one = prompts_[prompt][event.choice];
    one.text += event.text;
    for (const runtime::TokenInfo& token : event.tokens) one.tokens.push_back(token);
    if (error_.empty()) error_ = event.error;
    if (event.finish) one.last = std::move(event);
  }

  Json to_json(const Engine& engine, const runtime::Request& asked) const {
    Json out = Json::array();
    for (const auto& choices : prompts_) {
      Json answers = Json::array();
      for (const auto& [choice, one] : choices) answers.push_back(json_of(engine, one, asked.logprobs));
      Json entry = Json::object();
      if (asked.prompt_logprobs && !choices.empty())
        entry.set("prompt_logprobs", json_of(engine, choices.begin()->second.last.prompt));
      if (!choices.empty()) {
        entry.set("prompt_tokens", choices.begin()->second.last.prompt_tokens);
        entry.set("cached_tokens", choices.begin()->second.last.cached_tokens);
      }
      entry.set("choices", std::move(answers));
      out.push_back(std::move(entry));
    }
    return out;
  }
  int64_t new_tokens() const {
    int64_t sum = 0;
    for (const auto& choices : prompts_) {
      for (const auto& [choice, one] : choices) sum += one.last.new_tokens;
    }
    return sum;
  }
  Clock::time_point first_token() const { return first_token_; }
  const std::string& error() const { return error_; }

 private:
  struct One {
    std::string text;
    std::vector<runtime::TokenInfo> tokens;
    runtime::Event last;
  };

  static Json json_of(const Engine& engine, const One& one, bool logprobs) {
    Json out = Json::object();
    out.set("text", one.text);
    out.set("tokens", one.last.new_tokens);
    if (one.last.finish) out.set("stopped", runtime::name_of(*one.last.finish));
    if (!one.last.stop.empty()) out.set("stop", one.last.stop);
    if (logprobs) out.set("logprobs", json_of(engine, one.tokens));
    return out;
  }

  static Json json_of(const Engine& engine, const std::vector<runtime::TokenInfo>& tokens) {
    Json list = Json::array();
    for (const runtime::TokenInfo& token : tokens) {
      Json entry = Json::object();
      entry.set("id", token.id);
      entry.set("token", engine.decode({token.id}, false));
      entry.set("logprob", token.logprob);
      Json top = Json::array();
      for (const auto& [id, logprob] : token.top) {
        Json likely = Json::object();
        likely.set("id", id);
        likely.set("token", engine.decode({id}, false));
        likely.set("logprob", logprob);
        top.push_back(std::move(likely));
      }
      if (!token.top.empty()) entry.set("top", std::move(top));
      list.push_back(std::move(entry));
    }
    return list;
  }

  std::vector<std::map<int64_t, One>> prompts_;
  Clock::time_point first_token_;
  std::string error_;  // the first
};

}  // namespace

Json generate(const GenerateOptions& options, const Context& context, const GenerateSink& emit) {
  SWAGE_CHECK(!options.prompts.empty(), InvalidArgument, "there is no prompt");
  EngineOptions how = options.engine;
  const int64_t answers_each = std::max(options.request.choices, options.request.best_of);
  how.max_waiting = std::max(how.max_waiting, int64_t(options.prompts.size()) * std::max<int64_t>(1, answers_each));
  const std::unique_ptr<Engine> engine = open_engine(how, context);
  Answers answers(options.prompts.size());
  const Clock::time_point start = Clock::now();
  for (size_t i = 0; i < options.prompts.size(); ++i) {
    runtime::Request request = options.request;
    request.prompt = prompt_ids(options, *engine, options.prompts[i]);
    engine->submit(std::move(request), [&answers, &emit, i](runtime::Event&& event) {
      if (emit) emit(i, event);
      answers.take(i, std::move(event));
    });
  }
  while (engine->step()) context.check_cancelled();
  const Clock::time_point end = Clock::now();
  SWAGE_CHECK(answers.error().empty(), Internal, "generate: ", answers.error());
  const Clock::time_point first = answers.first_token() == Clock::time_point() ? end : answers.first_token();
  Json out = Json::object();
  Json results = answers.to_json(*engine, options.request);
  if (options.prompts.size() == 1) {
    const Json& choice = results.as_array()[0].find("choices")->as_array()[0];
    for (const char* key : {"text", "stopped"}) {
      if (const Json* value = choice.find(key)) out.set(key, *value);
    }
  }
  out.set("tokens", answers.new_tokens());
  out.set("prefill_seconds", seconds_between(start, first));
  out.set("decode_seconds", seconds_between(first, end));
  if (end > first) out.set("tokens_per_second", double(answers.new_tokens()) / seconds_between(first, end));
  out.set("results", std::move(results));
  out.set("plan", *engine->describe().find("plan"));
  out.set("engine", engine->stats());
  return out;
}

}  // namespace swage
