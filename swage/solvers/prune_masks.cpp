#include "swage/solvers/prune_masks.h"
#include "swage/ops/device.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sqrt.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "swage/base/error.h"
#include "swage/ops/parallel_tasks.h"

namespace swage::solvers {
namespace {

// Keeps all of `count` scores but the `dropped` least, the first of equals going first.
void keep_most(const float* score, int64_t count, int64_t dropped, std::vector<int64_t>& order, bool* keep) {
  order.resize(size_t(count));
  std::iota(order.begin(), order.end(), int64_t{0});
  const auto before = [score](int64_t a, int64_t b) { return score[a] != score[b] ? score[a] < score[b] : a < b; };
  if (dropped < count) std::nth_element(order.begin(), order.begin() + dropped, order.end(), before);
  std::fill(keep, keep + count, true);
  for (int64_t i = 0; i < dropped; ++i) keep[order[size_t(i)]] = false;
}

// One selection for each of consecutive runs of `run` scores.
at::Tensor mask_of(const at::Tensor& score_OI, int64_t run, int64_t dropped) {
  const at::Tensor scores = score_OI.contiguous();
  at::Tensor mask_OI = at::empty(scores.sizes(), scores.options().dtype(at::kBool));
  const float* score = scores.const_data_ptr<float>();
  bool* keep = mask_OI.mutable_data_ptr<bool>();
  const int64_t runs = scores.numel() / run, at_once = std::max<int64_t>(1, 4096 / run);
  ops::parallel_tasks((runs + at_once - 1) / at_once, [] { return std::vector<int64_t>(); },
                      [&](int64_t task, std::vector<int64_t>& order) {
                        for (int64_t r = task * at_once; r < std::min(runs, (task + 1) * at_once); ++r)
                          keep_most(score + r * run, run, dropped, order, keep + r * run);
                      });
  return mask_OI;
}

void check_weight(const char* who, const at::Tensor& w_OI) {
  SWAGE_CHECK(ops::is_host_matrix(w_OI, at::kFloat), InvalidArgument, who,
              ": expected a float32 matrix on the CPU, got ", w_OI.sizes(), " of ", w_OI.scalar_type());
}

}  // namespace

void check_pattern(const char* who, const SparsityPattern& pattern, int64_t columns) {
  SWAGE_CHECK(pattern.sparsity >= 0 && pattern.sparsity < 1, InvalidArgument, who, ": sparsity ", pattern.sparsity,
              ": expected a share from 0 to 1");
  if (!pattern.grouped()) return;
  SWAGE_CHECK(pattern.dropped >= 0 && pattern.dropped < pattern.group, InvalidArgument, who, ": ", pattern.dropped,
              " zeros in every ", pattern.group, " columns");
  SWAGE_CHECK(columns % pattern.group == 0, InvalidArgument, who, ": ", columns,
              " columns do not split into groups of ", pattern.group);
}

at::Tensor wanda_mask(const at::Tensor& w_OI, const at::Tensor& diagonal_I, const SparsityPattern& pattern) {
  check_weight("wanda_mask", w_OI);
  check_pattern("wanda_mask", pattern, w_OI.size(1));
  SWAGE_CHECK(diagonal_I.dim() == 1 && diagonal_I.size(0) == w_OI.size(1), InvalidArgument, "wanda_mask: a diagonal ",
              diagonal_I.sizes(), " for a weight ", w_OI.sizes());
  const at::Tensor score_OI = at::abs(w_OI) * at::sqrt(diagonal_I.to(at::kFloat));
  if (pattern.grouped()) return mask_of(score_OI, pattern.group, pattern.dropped);
  return mask_of(score_OI, w_OI.size(1), int64_t(double(w_OI.size(1)) * pattern.sparsity));
}

at::Tensor magnitude_mask(const at::Tensor& w_OI, const SparsityPattern& pattern) {
  check_weight("magnitude_mask", w_OI);
  check_pattern("magnitude_mask", pattern, w_OI.size(1));
  const at::Tensor score_OI = at::abs(w_OI);
  if (pattern.grouped()) return mask_of(score_OI, pattern.group, pattern.dropped);
  return mask_of(score_OI, w_OI.numel(), int64_t(double(w_OI.numel()) * pattern.sparsity));
}

}  // namespace swage::solvers
