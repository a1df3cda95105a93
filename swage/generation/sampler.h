// Choosing the next token from logits.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace swage::generation {

struct SamplingOptions {
  double temperature = 0;  // 0: the most likely token
  double top_p = 1;        // smallest set of tokens whose probabilities add up to this
};

// A stream of uniform numbers in [0, 1) that is the same everywhere for a seed (splitmix64).
class UniformStream {
 public:
  explicit UniformStream(uint64_t seed) : state_(seed) {}
  double next();

 private:
  uint64_t state_;
};

// logits_V float32, finite. Ties go to the lower id.
int64_t sample(const at::Tensor& logits_V, const SamplingOptions& options, UniformStream& uniform);

}  // namespace swage::generation
