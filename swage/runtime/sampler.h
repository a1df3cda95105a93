// Choosing the next token from logits, as transformers' logits processors would have it.
#pragma once
#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace swage::runtime {

// Applied in this order.
struct SamplingOptions {
  std::map<int64_t, double> logit_bias;  // by token, added to its logit
  double repetition_penalty = 1;         // above 0: divides the positive logits of all tokens so far, multiplies others
  double frequency_penalty = 0;          // subtracted for each time that a token was made
  double presence_penalty = 0;           // subtracted once for a token that was made
  double temperature = 0;                // 0: the most likely token
  int64_t top_k = 0;                     // so many most likely tokens, and their equals; 0: all
  double top_p = 1;                      // smallest set of tokens whose probabilities add up to this
  double min_p = 0;                      // tokens at least this share of the most likely one's probability
  double typical_p = 1;  // smallest set nearest to the entropy (Meister et al. 2022, arXiv:2202.00666) with this sum
  uint64_t seed = 0;

  // All but logit_bias, whose names are tokens.
  template <class V>
  void visit(V& v) {
    v("repetition_penalty", repetition_penalty, "above 1: tokens of prompt and text become less likely");
    v("frequency_penalty", frequency_penalty, "taken from a token's logit each time that it came");
    v("presence_penalty", presence_penalty, "taken from the logit of tokens that came");
    v("temperature", temperature, "0: always the most likely token");
    v("top_k", top_k, "sample from so many most likely tokens; 0: from all");
    v("top_p", top_p, "sample from the smallest set of tokens with this probability");
    v("min_p", min_p, "leave out tokens below this share of the most likely one's probability");
    v("typical_p", typical_p, "sample from the tokens nearest to the expected surprise, with this probability");
    v("seed", seed, "of what is drawn");
  }
};
// Error(InvalidArgument) naming the field; `vocabulary`: bound of the tokens.
void check_sampling(const SamplingOptions& options, int64_t vocabulary);

// A stream of uniform numbers in [0, 1) that is the same everywhere for a seed (splitmix64).
class UniformStream {
 public:
  explicit UniformStream(uint64_t seed) : state_(seed) {}
  double next();

 private:
  uint64_t state_;
};

// Which tokens may be chosen.
struct Permitted {
  std::vector<int64_t> banned = {};
  std::vector<uint32_t> allowed = {};  // bits by token, some of which is set; empty: all
  bool may_end = true;                 // end tokens end the answer
  bool is_over = false;                // nothing may come but the end

  void allow(int64_t id, int64_t vocabulary, bool is_allowed);
  bool has(int64_t id) const { return allowed.empty() || (allowed[size_t(id / 32)] >> (id % 32) & 1) != 0; }
};

struct Candidate {
  int64_t id;
  double weight;  // its logit; of what a sampler draws from, its probability
};

// The most likely tokens of logits [V] with the logarithms of their probabilities, and that of one of them.
struct LogProbabilities {
  double chosen = 0;
  std::vector<std::pair<int64_t, double>> top;
};
LogProbabilities log_probabilities(const float* logits, int64_t vocabulary, int64_t chosen, int64_t top);

// Of one sequence: its draws and counts depend on nothing else.
class Sampler {
 public:
  // `choice`: of several of one request, each of which draws from a stream of its own.
  Sampler(const SamplingOptions& options, const std::vector<int64_t>& prompt, int64_t choice);
  // logits [V], finite. Ties go to the lower id.
  int64_t next(const float* logits, int64_t vocabulary, const Permitted& permitted);
  // What next() draws from, at a temperature above 0.
  std::vector<Candidate> candidates(const float* logits, int64_t vocabulary, const Permitted& permitted) const;

 private:
  std::vector<float> processed(const float* logits, int64_t vocabulary, const Permitted& permitted) const;

  SamplingOptions options_;
  UniformStream uniform_;
  std::set<int64_t> seen_;           // in prompt and text
  std::map<int64_t, int64_t> made_;  // how often
};

}  // namespace swage::runtime
