#include "swage/runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "swage/base/error.h"

namespace swage::runtime {
namespace {

constexpr uint64_t kGolden = 0x9e3779b97f4a7c15u;  // 2^64 over the golden ratio: steps that never meet early

bool more_likely(const Candidate& a, const Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
}

void keep_top_k(std::vector<Candidate>& candidates, int64_t k) {
  if (k <= 0 || k >= int64_t(candidates.size())) return;
  std::vector<double> logits;
  logits.reserve(candidates.size());
  for (const Candidate& one : candidates) logits.push_back(one.weight);
  std::nth_element(logits.begin(), logits.begin() + (k - 1), logits.end(), std::greater<>());
  const double least = logits[size_t(k - 1)];
  std::erase_if(candidates, [&](const Candidate& one) { return one.weight < least; });
}

// Logits become probabilities.
void normalize(std::vector<Candidate>& candidates) {
  double most = -std::numeric_limits<double>::infinity(), sum = 0;
  for (const Candidate& one : candidates) most = std::max(most, one.weight);
  for (Candidate& one : candidates) sum += one.weight = std::exp(one.weight - most);
  for (Candidate& one : candidates) one.weight /= sum;
}

void renormalize(std::vector<Candidate>& candidates) {
  double sum = 0;
  for (const Candidate& one : candidates) sum += one.weight;
  for (Candidate& one : candidates) one.weight /= sum;
}

// Out of a heap, since few of many are kept.
void keep_top_p(std::vector<Candidate>& candidates, double top_p) {
  if (top_p >= 1) return;
  const auto less_likely = [](const Candidate& a, const Candidate& b) { return more_likely(b, a); };
  std::make_heap(candidates.begin(), candidates.end(), less_likely);
  std::vector<Candidate> kept;
  double sum = 0;
  while (!candidates.empty() && (kept.empty() || sum < top_p)) {
    std::pop_heap(candidates.begin(), candidates.end(), less_likely);
    kept.push_back(candidates.back());
    candidates.pop_back();
    sum += kept.back().weight;
  }
  candidates = std::move(kept);
  renormalize(candidates);
}

void keep_min_p(std::vector<Candidate>& candidates, double min_p) {
  if (min_p <= 0) return;
  double most = 0;
  for (const Candidate& one : candidates) most = std::max(most, one.weight);
  std::erase_if(candidates, [&](const Candidate& one) { return one.weight < min_p * most; });
  renormalize(candidates);
}

void keep_typical(std::vector<Candidate>& candidates, double typical_p) {
  if (typical_p >= 1) return;
  double entropy = 0;
  for (const Candidate& one : candidates) entropy -= one.weight > 0 ? one.weight * std::log(one.weight) : 0;
  const auto distance = [&](const Candidate& one) { return std::fabs(-std::log(one.weight) - entropy); };
  std::stable_sort(candidates.begin(), candidates.end(),
                   [&](const Candidate& a, const Candidate& b) { return distance(a) < distance(b); });
  double sum = 0;
  size_t last = 0;
  for (size_t i = 0; i < candidates.size() && (sum += candidates[i].weight) < typical_p; ++i) last = i + 1;
  last = std::min(last, candidates.size() - 1);
  const double farthest = distance(candidates[last]);
  std::erase_if(candidates, [&](const Candidate& one) { return distance(one) > farthest; });
  renormalize(candidates);
}

}  // namespace

void check_sampling(const SamplingOptions& o, int64_t vocabulary) {
  SWAGE_CHECK(o.temperature >= 0 && std::isfinite(o.temperature), InvalidArgument, "temperature ", o.temperature,
              ": expected 0 or more");
  SWAGE_CHECK(o.top_k >= 0, InvalidArgument, "top_k ", o.top_k, ": expected 0 or more");
  SWAGE_CHECK(o.top_p > 0 && o.top_p <= 1, InvalidArgument, "top_p ", o.top_p, ": expected a number above 0, up to 1");
  SWAGE_CHECK(o.min_p >= 0 && o.min_p <= 1, InvalidArgument, "min_p ", o.min_p, ": expected a number from 0 to 1");
  SWAGE_CHECK(o.typical_p > 0 && o.typical_p <= 1, InvalidArgument, "typical_p ", o.typical_p,
              ": expected a number above 0, up to 1");
  SWAGE_CHECK(o.repetition_penalty > 0 && std::isfinite(o.repetition_penalty), InvalidArgument, "repetition_penalty ",
              o.repetition_penalty, ": expected a number above 0");
  SWAGE_CHECK(std::fabs(o.frequency_penalty) <= 2, InvalidArgument, "frequency_penalty ", o.frequency_penalty,
              ": expected a number from -2 to 2");
  SWAGE_CHECK(std::fabs(o.presence_penalty) <= 2, InvalidArgument, "presence_penalty ", o.presence_penalty,
              ": expected a number from -2 to 2");
  for (const auto& [id, bias] : o.logit_bias)
    SWAGE_CHECK(id >= 0 && id < vocabulary && std::isfinite(bias), InvalidArgument, "logit_bias of token ", id, ": ",
                bias, " in a vocabulary of ", vocabulary);
}

double UniformStream::next() {
  uint64_t z = state_ += kGolden;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return double((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

LogProbabilities log_probabilities(const float* logits, int64_t vocabulary, int64_t chosen, int64_t top) {
  const double most = double(*std::max_element(logits, logits + vocabulary));
  double sum = 0;
  for (int64_t i = 0; i < vocabulary; ++i) sum += std::exp(double(logits[i]) - most);
  const double all = most + std::log(sum);
  std::vector<int64_t> order(size_t(std::max<int64_t>(top, 0) > 0 ? vocabulary : 0));
  for (size_t i = 0; i < order.size(); ++i) order[i] = int64_t(i);
  const auto kept = order.begin() + std::min(top, int64_t(order.size()));
  std::partial_sort(order.begin(), kept, order.end(),
                    [&](int64_t a, int64_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  constexpr double kNever = -1e9;  // of tokens that have no logit
  LogProbabilities out{chosen < vocabulary ? double(logits[chosen]) - all : kNever, {}};
  for (auto id = order.begin(); id != kept; ++id) out.top.emplace_back(*id, double(logits[*id]) - all);
  return out;
}

Sampler::Sampler(const SamplingOptions& options, const std::vector<int64_t>& prompt, int64_t choice)
    : options_(options),
      uniform_(choice == 0 ? options.seed : uint64_t(UniformStream(options.seed + uint64_t(choice)).next() * 0x1p53)) {
  if (options.repetition_penalty != 1) seen_.insert(prompt.begin(), prompt.end());
}

void Permitted::allow(int64_t id, int64_t vocabulary, bool is_allowed) {
  if (id < 0 || id >= vocabulary) return;
  const uint32_t bit = 1u << (id % 32);
  uint32_t& word = allowed[size_t(id / 32)];
  word = is_allowed ? word | bit : word & ~bit;
}

std::vector<float> Sampler::processed(const float* logits, int64_t vocabulary, const Permitted& permitted) const {
  std::vector<float> out(logits, logits + vocabulary);
  for (const auto& [id, bias] : options_.logit_bias) out[size_t(id)] += float(bias);
  const auto penalty = float(options_.repetition_penalty);
  if (penalty != 1) {
    for (const int64_t id : seen_) {
      if (id >= vocabulary) continue;  // of a prompt alone
      float& logit = out[size_t(id)];
      logit = logit < 0 ? logit * penalty : logit / penalty;
    }
  }
  for (const auto& [id, times] : made_)
    out[size_t(id)] -= float(options_.frequency_penalty * double(times) + options_.presence_penalty);
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  for (const int64_t id : permitted.banned) {
    if (id >= 0 && id < vocabulary) out[size_t(id)] = kNever;
  }
  for (int64_t id = 0; !permitted.allowed.empty() && id < vocabulary; ++id) {
    if (!permitted.has(id)) out[size_t(id)] = kNever;
  }
  return out;
}

std::vector<Candidate> Sampler::candidates(const float* logits, int64_t vocabulary, const Permitted& permitted) const {
  const std::vector<float> ready = processed(logits, vocabulary, permitted);
  std::vector<Candidate> left;
  left.reserve(ready.size());
  for (int64_t id = 0; id < vocabulary; ++id) {
    if (std::isfinite(ready[size_t(id)])) left.push_back({id, double(ready[size_t(id)]) / options_.temperature});
  }
  keep_top_k(left, options_.top_k);
  normalize(left);
  keep_top_p(left, options_.top_p);
  keep_min_p(left, options_.min_p);
  keep_typical(left, options_.typical_p);
  return left;
}

int64_t Sampler::next(const float* logits, int64_t vocabulary, const Permitted& permitted) {
  int64_t chosen = 0;
  if (options_.temperature > 0) {
    const std::vector<Candidate> left = candidates(logits, vocabulary, permitted);
    double point = uniform_.next();
    chosen = left.back().id;
    for (size_t i = 0; i + 1 < left.size(); ++i) {
      point -= left[i].weight;
      if (point >= 0) continue;
      chosen = left[i].id;
      break;
    }
  } else {
    const std::vector<float> ready = processed(logits, vocabulary, permitted);
    chosen = std::max_element(ready.begin(), ready.end()) - ready.begin();
  }
  if (options_.repetition_penalty != 1) seen_.insert(chosen);
  if (options_.frequency_penalty != 0 || options_.presence_penalty != 0) ++made_[chosen];
  return chosen;
}

}  // namespace swage::runtime
