#include "swage/generation/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "swage/base/error.h"

namespace swage::generation {

double UniformStream::next() {
  uint64_t z = state_ += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return double((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

int64_t sample(const at::Tensor& logits_V, const SamplingOptions& options, UniformStream& uniform) {
  SWAGE_CHECK(logits_V.dim() == 1 && logits_V.numel() > 0, Internal, "sample: expected logits [V]");
  const at::Tensor logits = logits_V.to(at::kCPU, at::kFloat).contiguous();
  const float* value = logits.const_data_ptr<float>();
  const int64_t count = logits.numel();
  const int64_t best = std::max_element(value, value + count) - value;
  if (options.temperature <= 0) return best;

  std::vector<double> weight(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    weight[size_t(i)] = std::exp((double(value[i]) - double(value[best])) / options.temperature);
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return weight[size_t(a)] > weight[size_t(b)]; });
  const double total = std::accumulate(weight.begin(), weight.end(), 0.0);
  double kept = 0;
  size_t candidates = 0;
  while (candidates < order.size() && (candidates == 0 || kept < options.top_p * total))
    kept += weight[size_t(order[candidates++])];
  double point = uniform.next() * kept;
  for (size_t i = 0; i + 1 < candidates; ++i) {
    point -= weight[size_t(order[i])];
    if (point < 0) return order[i];
  }
  return order[candidates - 1];
}

}  // namespace swage::generation
