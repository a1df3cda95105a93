#include "swage/runtime/engine.h"

#include <algorithm>
#include <utility>

#include "swage/base/error.h"
#include "swage/model/rope.h"

namespace swage::runtime {
namespace {

constexpr int64_t kMostChoices = 128;
constexpr int64_t kMostDraft = 32;

CacheOptions cache_options(const ModelRunner& runner, const MemoryPlan& plan, const EngineOptions& options) {
  CacheOptions out{plan.blocks, options.shares_prefixes, 0};
  for (const graph::RopeSpec& rope : runner.model().program().ropes) {
    const int64_t same = model::Rope(rope, at::kCPU).same_up_to();
    if (same > 0) out.shared_up_to = out.shared_up_to == 0 ? same : std::min(same, out.shared_up_to);
  }
  return out;
}

SchedulerOptions schedule_of(SchedulerOptions options) {
  options.step_tokens = std::max(options.step_tokens, options.most_sequences);  // a token for each
  return options;
}

std::vector<double> pooled_of(const Group& group) {
  std::vector<double> out = group.pooled;
  if (group.request.pooling != Pooling::Mean) return out;
  for (double& value : out) value /= double(group.request.prompt.size());
  return out;
}

// Of the prompt's tokens, taken once: not again after a preemption in the answer.
int64_t pooled_rows(const Sequence& sequence, int64_t tokens) {
  const bool is_asked =
      sequence.group->request.pooling != Pooling::None && sequence.choice == 0 && sequence.made() == 0;
  if (!is_asked) return 0;
  if (sequence.computed == 0) sequence.group->pooled.clear();  // again after a preemption in the prompt
  if (sequence.group->request.pooling == Pooling::Mean) return tokens;
  return tokens == sequence.pending() ? 1 : 0;
}

}  // namespace

Engine::Engine(const ModelRunner& runner, const data::Tokenizer* tokenizer, const MemoryPlan& plan,
               const EngineOptions& options)
    : runner_(runner),
      vocabulary_(tokenizer, runner.predicted()),
      plan_(plan),
      options_(options),
      pool_(model::cache_layout(runner.model().program(), options.cache_format), cache_options(runner, plan, options)),
      scheduler_(pool_, schedule_of(options.schedule), plan.context) {
  update_stats();
}

Engine::~Engine() = default;

void Engine::check(const Request& request) const {
  const int64_t vocabulary = runner_.model().vocabulary_size(), prompt = int64_t(request.prompt.size());
  SWAGE_CHECK(prompt > 0, InvalidArgument, "the prompt is empty");
  SWAGE_CHECK(prompt < plan_.context, InvalidArgument, "the prompt has ", prompt,
              " tokens, the model takes fewer than ", plan_.context);
  for (const int64_t id : request.prompt)
    SWAGE_CHECK(id >= 0 && id < vocabulary, InvalidArgument, "token id ", id, " is outside the model's vocabulary of ",
                vocabulary, ": does tokenizer.json belong to another model?");
  SWAGE_CHECK(request.max_new_tokens > 0 ||
                  (request.max_new_tokens == 0 && (request.prompt_logprobs || request.pooling != Pooling::None)),
              InvalidArgument, "max_new_tokens ", request.max_new_tokens, ": expected 1 or more");
  SWAGE_CHECK(request.choices > 0 && request.choices <= kMostChoices, InvalidArgument, "n ", request.choices,
              ": expected 1 to ", kMostChoices);
  SWAGE_CHECK(request.best_of == 0 || (request.best_of >= request.choices && request.best_of <= kMostChoices),
              InvalidArgument, "best_of ", request.best_of, ": expected ", request.choices, " to ", kMostChoices);
  SWAGE_CHECK(request.draft_tokens >= 0 && request.draft_tokens <= kMostDraft, InvalidArgument, "draft_tokens ",
              request.draft_tokens, ": expected 0 to ", kMostDraft);
  SWAGE_CHECK(request.top_logprobs >= 0 && request.top_logprobs <= runner_.predicted(), InvalidArgument,
              "top_logprobs ", request.top_logprobs, ": expected 0 to ", runner_.predicted());
  for (const std::string& stop : request.stops)
    SWAGE_CHECK(!stop.empty() && vocabulary_.tokenizer() != nullptr, InvalidArgument, "an empty stop string");
  check_sampling(request.sampling, runner_.predicted());
}

std::optional<RequestId> Engine::submit(Request request, EventSink sink) {
  check(request);
  if (stats().waiting >= options_.most_waiting) return {};
  auto group = std::make_unique<Group>();
  group->request = std::move(request);
  group->sink = std::move(sink);
  const int64_t answers = std::max(group->request.choices, group->request.best_of);
  const std::optional<data::GrammarMatcher> grammar = vocabulary_.compile(group->request.grammar);
  for (int64_t choice = 0; choice < answers; ++choice) {
    group->sequences.push_back(std::make_unique<Sequence>(*group, choice, vocabulary_.tokenizer()));
    if (grammar) group->sequences.back()->grammar = grammar->copy();
  }
  return inbox_.put(std::move(group));
}

void Engine::cancel(RequestId request) { inbox_.cancel(request); }

void Engine::wait(std::chrono::milliseconds most) { inbox_.wait(most); }

void Engine::take_inbox() {
  Inbox::Content content = inbox_.take();
  for (std::unique_ptr<Group>& group : content.groups) {
    Group& added = *group;
    groups_[added.id] = std::move(group);
    added.waits_for_first = added.sequences.size() > 1;
    scheduler_.add(*added.sequences.front());
    ++counts_.requests;
  }
  for (const RequestId id : content.cancelled) {
    const auto found = groups_.find(id);
    if (found != groups_.end()) drop(*found->second, Finish::Cancelled, {});
  }
}

void Engine::drop(Group& group, Finish how, const std::string& error) {
  for (const auto& sequence : group.sequences) {
    if (sequence->finish) continue;
    scheduler_.remove(*sequence);
    sequence->end(how);
    sequence->news.error = error;
  }
}

bool Engine::step() {
  take_inbox();
  const std::vector<Turn> turns = scheduler_.next();
  if (!turns.empty()) {
    ++counts_.steps;
    try {
      compute(turns);
    } catch (const std::exception& e) {
      for (const Turn& turn : turns) drop(*turn.sequence->group, Finish::Failed, e.what());
    }
  } else if (scheduler_.running() == 0 && scheduler_.waiting() > 0) {
    for (const auto& [id, group] : groups_) drop(*group, Finish::Failed, "no room in the cache for a single sequence");
  }
  tell_all();
  update_stats();
  return scheduler_.running() + scheduler_.waiting() > 0;
}

void Engine::compute(const std::vector<Turn>& turns) {
  std::vector<std::vector<int64_t>> ids;
  std::vector<Piece> pieces;
  for (const auto& [sequence, tokens, draft] : turns) {
    const bool scores =
        sequence->group->request.prompt_logprobs && sequence->choice == 0 && sequence->computed < sequence->prompt();
    const auto first = sequence->ids.begin() + sequence->computed;
    std::vector<int64_t>& next = ids.emplace_back(first, first + tokens);
    next.insert(next.end(), draft.begin(), draft.end());
    const int64_t wanted = scores ? tokens : tokens == sequence->pending() ? 1 + int64_t(draft.size()) : 0;
    pieces.push_back({next, sequence->computed, sequence->prompt(), &sequence->memory.cache, wanted});
    pieces.back().pooled = pooled_rows(*sequence, tokens);
    pieces.back().pool = &sequence->group->pooled;
  }
  const at::Tensor logits_RV = runner_.run(pool_.layout(), pieces);
  const float* logits = logits_RV.defined() ? logits_RV.const_data_ptr<float>() : nullptr;
  for (size_t i = 0; i < turns.size(); ++i) {
    Sequence& sequence = *turns[i].sequence;
    const int64_t of_prompt = std::clamp<int64_t>(sequence.prompt() - sequence.computed, 0, turns[i].tokens);
    counts_.prompt_tokens += sequence.made() == 0 ? uint64_t(of_prompt) : 0;
    sequence.computed += turns[i].tokens;
    pool_.offer(sequence.memory, sequence.ids, sequence.computed, sequence.prompt());
    take_logits(turns[i], logits, pieces[i].logits);
    if (!sequence.finish) pool_.leave(sequence.memory, sequence.computed);
    if (logits != nullptr) logits += pieces[i].logits * runner_.predicted();
  }
}

void Engine::score_prompt(Sequence& sequence, const float* logits, int64_t rows) {
  Group& group = *sequence.group;
  const int64_t vocabulary = runner_.predicted();
  if (group.prompt.empty()) group.prompt.push_back({group.request.prompt[0], 0, {}});
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t position = sequence.computed - rows + row + 1;  // that the row predicts
    if (position != int64_t(group.prompt.size()) || position >= sequence.prompt()) continue;
    const int64_t id = group.request.prompt[size_t(position)];
    LogProbabilities found = log_probabilities(logits + row * vocabulary, vocabulary, id, group.request.top_logprobs);
    group.prompt.push_back({id, found.chosen, std::move(found.top)});
  }
}

// Of rows behind guesses, those whose guesses are what was chosen: each row is what it would be without them.
void Engine::take_logits(const Turn& turn, const float* logits, int64_t rows) {
  Sequence& sequence = *turn.sequence;
  Group& group = *sequence.group;
  const int64_t vocabulary = runner_.predicted(), guesses = int64_t(turn.draft.size());
  if (group.request.prompt_logprobs && sequence.choice == 0) score_prompt(sequence, logits, rows - guesses);
  if (sequence.pending() > 0) return;
  if (group.waits_for_first) begin_others(group);
  counts_.drafted += uint64_t(guesses);
  for (int64_t guess = 0; guess <= guesses; ++guess) {
    if (group.request.max_new_tokens == 0)
      sequence.end(Finish::Length);
    else
      sequence.take(logits + (rows - guesses - 1 + guess) * vocabulary, vocabulary, vocabulary_.end_ids(),
                    plan_.context);
    counts_.new_tokens += group.request.max_new_tokens > 0;
    if (sequence.made() <= 1) counts_.cached_tokens += uint64_t(sequence.cached);
    if (sequence.finish || guess == guesses || sequence.ids.back() != turn.draft[size_t(guess)]) break;
    ++sequence.computed;
    ++counts_.accepted;
  }
  if (sequence.finish) scheduler_.remove(sequence);
}

void Engine::begin_others(Group& group) {
  group.waits_for_first = false;
  for (size_t i = group.sequences.size(); i-- > 1;) scheduler_.add(*group.sequences[i], true);
}

void Engine::tell(Group& group, Event&& event) {
  if (!group.sink) return;
  try {
    group.sink(std::move(event));
  } catch (...) {  // who asked does not listen any more
    group.sink = {};
    drop(group, Finish::Cancelled, {});
  }
}

void Engine::tell_news(Group& group) {
  for (const auto& sequence : group.sequences) {
    Event& news = sequence->news;
    const bool has_ended = sequence->finish.has_value() && !sequence->is_told;
    if (!has_ended && news.tokens.empty() && news.text.empty()) continue;
    Event event = std::exchange(news, {});
    event.request = group.id;
    event.choice = sequence->choice;
    if (sequence->finish) {
      event.finish = sequence->finish;
      event.prompt_tokens = sequence->prompt();
      event.cached_tokens = sequence->cached;
      event.new_tokens = sequence->made();
      if (sequence->choice == 0) event.prompt = group.prompt;
      if (sequence->choice == 0) event.pooled = pooled_of(group);
      sequence->is_told = true;
    }
    tell(group, std::move(event));
  }
}

// The likeliest answers by the mean of their tokens' logarithms, numbered anew.
void Engine::tell_best(Group& group) {
  std::vector<std::unique_ptr<Sequence>>& all = group.sequences;
  const auto mean = [](const Sequence& one) {
    return one.logprob_sum / double(std::max<size_t>(1, one.news.tokens.size()));
  };
  std::stable_sort(all.begin(), all.end(), [&](const auto& a, const auto& b) { return mean(*a) > mean(*b); });
  all.resize(size_t(group.request.choices));
  for (size_t i = 0; i < all.size(); ++i) {
    all[i]->choice = int64_t(i);
    if (group.request.logprobs) continue;
    for (TokenInfo& token : all[i]->news.tokens) token.logprob = 0;
  }
  tell_news(group);
}

void Engine::tell_all() {
  for (auto at = groups_.begin(); at != groups_.end();) {
    Group& group = *at->second;
    if (!group.is_held_back())
      tell_news(group);
    else if (group.is_done())
      tell_best(group);
    at = group.is_done() ? groups_.erase(at) : std::next(at);
  }
}

void Engine::update_stats() {
  counts_.running = scheduler_.running();
  counts_.waiting = scheduler_.waiting();
  counts_.preemptions = uint64_t(scheduler_.preemptions());
  counts_.blocks = pool_.blocks();
  counts_.kept = pool_.kept();
  counts_.free = pool_.available() - pool_.kept();
  const std::lock_guard lock(stats_mutex_);
  stats_ = counts_;
}

EngineStats Engine::stats() const {
  EngineStats out;
  {
    const std::lock_guard lock(stats_mutex_);
    out = stats_;
  }
  out.waiting += inbox_.waiting();
  return out;
}

}  // namespace swage::runtime
