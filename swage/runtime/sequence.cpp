#include "swage/runtime/sequence.h"

#include <algorithm>

#include "swage/base/error.h"

namespace swage::runtime {

const char* name_of(Finish finish) {
  switch (finish) {
    case Finish::End:
      return "end token";
    case Finish::Stop:
      return "stop string";
    case Finish::Length:
      return "length";
    case Finish::Cancelled:
      return "cancelled";
    case Finish::Failed:
      break;
  }
  return "failed";
}

Sequence::Sequence(Group& group, int64_t choice, const data::Tokenizer* tokenizer)
    : group(&group),
      choice(choice),
      ids(group.request.prompt),
      sampler(group.request.sampling, group.request.prompt, choice),
      stops(group.request.stops) {
  if (tokenizer != nullptr) text.emplace(*tokenizer);
}

int64_t Sequence::prompt() const { return int64_t(group->request.prompt.size()); }

void Sequence::add_text(int64_t id) {
  if (!text) return;
  std::string& piece = news.tokens.back().text = text->push(id);
  news.text += stops.push(piece);
  if (!stops.is_stopped()) return;
  news.stop = stops.found();
  finish = Finish::Stop;
}

void Sequence::end(Finish how) {
  finish = how;
  if (!text) return;
  const std::string rest = text->finish();
  if (!news.tokens.empty()) news.tokens.back().text += rest;
  news.text += stops.push(rest);
  news.text += stops.finish();
  if (!stops.is_stopped() || how == Finish::Cancelled || how == Finish::Failed) return;
  news.stop = stops.found();
  finish = Finish::Stop;
}

void Sequence::take(const float* logits, int64_t vocabulary, const std::vector<int64_t>& end_ids, int64_t context) {
  const Request& request = group->request;
  const auto is_end = [&](int64_t id) { return std::find(end_ids.begin(), end_ids.end(), id) != end_ids.end(); };
  try {
    const Permitted may = permitted(vocabulary, end_ids);
    if (may.is_over) return end(Finish::End);
    const int64_t id = sampler.next(logits, vocabulary, may);
    note(logits, vocabulary, id);
    if (may.may_end && is_end(id)) return end(Finish::End);
    const bool is_over = grammar && grammar->consume(id);
    ids.push_back(id);
    add_text(id);
    if (finish) return;
    if (is_over) return end(Finish::End);
  } catch (const Error& e) {
    news.error = e.what();
    return end(Finish::Failed);
  }
  if (made() >= request.max_new_tokens || int64_t(ids.size()) >= context) end(Finish::Length);
}

void Sequence::note(const float* logits, int64_t vocabulary, int64_t id) {
  const Request& request = group->request;
  TokenInfo token;
  token.id = id;
  if (request.logprobs || group->is_held_back()) {
    LogProbabilities found = log_probabilities(logits, vocabulary, id, request.top_logprobs);
    token.logprob = found.chosen;
    token.top = std::move(found.top);
    logprob_sum += token.logprob;
  }
  news.tokens.push_back(std::move(token));
}

Permitted Sequence::permitted(int64_t vocabulary, const std::vector<int64_t>& end_ids) {
  const Request& request = group->request;
  const bool is_early = made() < request.min_new_tokens;
  Permitted out;
  out.may_end = !request.ignore_end && !is_early;
  if (!grammar) {
    if (is_early && !request.ignore_end) out.banned = end_ids;
    return out;
  }
  out.allowed.assign(size_t((vocabulary + 31) / 32), 0u);
  const bool is_whole = grammar->mask(out.allowed);
  for (const int64_t id : end_ids) out.allow(id, vocabulary, false);
  const bool goes_on = std::any_of(out.allowed.begin(), out.allowed.end(), [](uint32_t word) { return word != 0; });
  SWAGE_CHECK(goes_on || is_whole, InvalidArgument, "grammar: the model has no token that may come next");
  out.is_over = !goes_on;
  out.may_end = out.may_end && is_whole;
  if (!out.may_end) return out;
  for (const int64_t id : end_ids) out.allow(id, vocabulary, true);
  return out;
}

bool Group::is_held_back() const { return request.best_of > request.choices; }

bool Group::is_done() const {
  return std::all_of(sequences.begin(), sequences.end(), [](const auto& one) { return one->finish.has_value(); });
}

}  // namespace swage::runtime
