#include "swage/runtime/sequence.h"

#include <algorithm>

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
  const bool may_end = !request.ignore_end && made() >= request.min_new_tokens;
  const std::vector<int64_t> none;
  TokenInfo token;
  token.id = sampler.next(logits, vocabulary, may_end || request.ignore_end ? none : end_ids);
  if (request.logprobs || group->is_held_back()) {
    LogProbabilities found = log_probabilities(logits, vocabulary, token.id, request.top_logprobs);
    token.logprob = found.chosen;
    token.top = std::move(found.top);
    logprob_sum += token.logprob;
  }
  news.tokens.push_back(std::move(token));
  const int64_t id = news.tokens.back().id;
  if (may_end && std::find(end_ids.begin(), end_ids.end(), id) != end_ids.end()) return end(Finish::End);
  ids.push_back(id);
  add_text(id);
  if (finish) return;
  if (made() >= request.max_new_tokens || int64_t(ids.size()) >= context) end(Finish::Length);
}

bool Group::is_held_back() const { return request.best_of > request.choices; }

bool Group::is_done() const {
  return std::all_of(sequences.begin(), sequences.end(), [](const auto& one) { return one->finish.has_value(); });
}

}  // namespace swage::runtime
