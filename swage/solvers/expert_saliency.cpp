#include "swage/solvers/expert_saliency.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/sum.h>

#include <algorithm>
#include <numeric>

#include "swage/base/error.h"

namespace swage::solvers {

double weighted_norm_sum(const at::Tensor& gate_T, const at::Tensor& output_TD) {
  SWAGE_CHECK(output_TD.dim() == 2 && gate_T.numel() == output_TD.size(0), InvalidArgument,
              "weighted_norm_sum: ", gate_T.numel(), " gates for outputs of ", output_TD.dim(), " dimensions, ",
              output_TD.numel(), " numbers");
  if (gate_T.numel() == 0) return 0;
  const at::Tensor norm_T = at::linalg_vector_norm(output_TD, 2, {1}, false, at::kDouble);
  return norm_T.mul_(gate_T.reshape({-1})).sum().item<double>();
}

std::vector<double> mean_saliency(const std::vector<double>& sums, const std::vector<int64_t>& tokens) {
  SWAGE_CHECK(sums.size() == tokens.size(), InvalidArgument, "mean_saliency: sums of ", sums.size(),
              " experts, tokens of ", tokens.size());
  std::vector<double> out(sums.size());
  for (size_t e = 0; e < sums.size(); ++e) out[e] = sums[e] / double(std::max<int64_t>(tokens[e], 1));
  return out;
}

std::vector<int64_t> most_salient(const std::vector<double>& saliency, int64_t drop) {
  const int64_t experts = int64_t(saliency.size());
  SWAGE_CHECK(drop >= 0 && drop < experts, InvalidArgument, "most_salient: ", drop, " of ", experts,
              " experts are to go");
  std::vector<int64_t> order(saliency.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return saliency[size_t(a)] < saliency[size_t(b)]; });
  std::vector<int64_t> out(order.begin() + drop, order.end());
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace swage::solvers
