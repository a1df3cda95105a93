// gptq_factor: order of the columns, dampening, and H = M D M^T from a Cholesky factorization of the reversed matrix.
#include <ATen/ops/arange.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eq.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "swage/base/error.h"
#include "swage/ops/parallel_tasks.h"
#include "swage/solvers/gptq.h"
#include "swage/solvers/upper_cholesky.h"

namespace swage::solvers {
namespace {

// The matrix is factored in reversed visiting order: with J the reversal and J H J = U^T U, R = J U^T J is upper
// triangular and H = R R^T, M = R / diag(R), D = diag(R)^2.
struct Matrix {
  const double* gram;
  int64_t columns;
  const std::vector<int64_t>& order;
  const std::vector<double>&
      diagonal;  // takes the place of gram's: zeros replaced, dampening added, in the original order
};

UpperCholesky reversed_factor(const Matrix& h) {
  const int64_t last = h.columns - 1;
  return upper_cholesky(h.columns, [&h, last](int64_t i, int64_t j) {
    const int64_t row = h.order[static_cast<size_t>(last - i)];
    return i == j ? h.diagonal[static_cast<size_t>(row)]
                  : h.gram[row * h.columns + h.order[static_cast<size_t>(last - j)]];
  });
}

void unpack_factor(const UpperCholesky& u, GptqFactor& factor) {
  const int64_t n = u.columns();
  factor.m_II = at::empty({n, n}, at::kFloat);
  factor.d_I = at::empty({n}, at::kFloat);
  float* m = factor.m_II.mutable_data_ptr<float>();
  float* d = factor.d_I.mutable_data_ptr<float>();
  std::vector<double> inverse(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    const double pivot = u.at(n - 1 - i, n - 1 - i);
    inverse[static_cast<size_t>(i)] = 1 / pivot;
    d[i] = static_cast<float>(pivot * pivot);
  }
  constexpr int64_t kRows = 16;  // rows of M that are read from the same lines of U
  ops::parallel_tasks((n + kRows - 1) / kRows, [] { return 0; },
                      [&](int64_t task, int) {
                        const int64_t begin = task * kRows, end = std::min(n, begin + kRows);
                        for (int64_t i = begin; i < end; ++i) std::fill(m + i * n, m + i * n + i, 0.0f);
                        for (int64_t j = begin; j < n; ++j) {
                          for (int64_t i = begin; i < std::min(end, j); ++i)
                            m[i * n + j] =
                                static_cast<float>(u.at(n - 1 - j, n - 1 - i) * inverse[static_cast<size_t>(j)]);
                        }
                        for (int64_t i = begin; i < end; ++i) m[i * n + i] = 1.0f;
                      },
                      n >= kParallelCopy);
}

// Fills factor.dead_I and returns the diagonal with the mean of the live columns in place of zeros.
std::vector<double> live_diagonal(const at::Tensor& gram_II, GptqFactor& factor, double& mean) {
  const int64_t n = gram_II.size(0);
  const at::Tensor diagonal_I = gram_II.diagonal().contiguous();
  factor.dead_I = at::eq(diagonal_I, 0);
  const double* from = diagonal_I.const_data_ptr<double>();
  std::vector<double> diagonal(from, from + n);
  double sum = 0;
  int64_t live = 0;
  for (int64_t i = 0; i < n; ++i) {
    SWAGE_CHECK(diagonal[static_cast<size_t>(i)] >= 0, Numerical, "gptq_factor: the Gram matrix is negative at ", i,
                " on its diagonal");
    sum += diagonal[static_cast<size_t>(i)];
    live += diagonal[static_cast<size_t>(i)] > 0;
  }
  mean = live == 0 ? 1.0 : sum / static_cast<double>(live);
  for (double& x : diagonal) x = x == 0 ? mean : x;
  return diagonal;
}

std::vector<int64_t> visiting_order(const at::Tensor& gram_II, ActOrder act_order, GptqFactor& factor) {
  at::Tensor order_I = at::arange(gram_II.size(0), at::kLong);
  if (act_order != ActOrder::None) {
    order_I = at::argsort(gram_II.diagonal(), /*stable=*/true, /*dim=*/0, /*descending=*/true).contiguous();
    factor.permutation_I = order_I;
  }
  const int64_t* order = order_I.const_data_ptr<int64_t>();
  return {order, order + order_I.numel()};
}

}  // namespace

GptqFactor gptq_factor(const at::Tensor& gram_II, const GptqOptions& options) {
  SWAGE_CHECK(gram_II.dim() == 2 && gram_II.size(0) == gram_II.size(1) && gram_II.size(0) > 0, InvalidArgument,
              "gptq_factor: expected a square Gram matrix, got ", gram_II.sizes());
  SWAGE_CHECK(options.dampening >= 0 && options.max_retries >= 0, InvalidArgument, "gptq_factor: dampening ",
              options.dampening, " and max_retries ", options.max_retries, " must not be negative");
  const at::Tensor gram64_II = gram_II.to(at::kCPU, at::kDouble).contiguous();
  SWAGE_CHECK(std::isfinite(gram64_II.sum().item<double>()), Numerical,
              "gptq_factor: the Gram matrix holds a NaN or Inf");
  GptqFactor factor;
  double mean = 0;
  const std::vector<double> diagonal = live_diagonal(gram64_II, factor, mean);
  const std::vector<int64_t> order = visiting_order(gram64_II, options.act_order, factor);
  factor.dampening_used = options.dampening;
  for (;; ++factor.retries) {
    std::vector<double> dampened = diagonal;
    factor.dampening_added = factor.dampening_used * mean;
    for (double& x : dampened) x += factor.dampening_added;
    const UpperCholesky u = reversed_factor({gram64_II.const_data_ptr<double>(), gram64_II.size(0), order, dampened});
    if (u.ok()) {
      unpack_factor(u, factor);
      return factor;
    }
    SWAGE_CHECK(factor.retries < options.max_retries, Numerical, "gptq_factor: the Gram matrix of ", order.size(),
                " columns is not positive definite, even with dampening ", factor.dampening_used);
    factor.dampening_used = std::max(factor.dampening_used * 10, kSmallestRetry);
  }
}

at::Tensor group_act_order_g_idx(const GptqFactor& factor, int64_t group_size) {
  const int64_t columns = factor.d_I.size(0);
  SWAGE_CHECK(group_size > 0 && columns % group_size == 0, InvalidArgument, "group_act_order_g_idx: ", columns,
              " columns do not split into groups of ", group_size);
  at::Tensor g_idx_I = at::empty({columns}, at::kInt);
  int32_t* g_idx = g_idx_I.mutable_data_ptr<int32_t>();
  const int64_t* order = factor.permutation_I.defined() ? factor.permutation_I.const_data_ptr<int64_t>() : nullptr;
  for (int64_t i = 0; i < columns; ++i) g_idx[order == nullptr ? i : order[i]] = static_cast<int32_t>(i / group_size);
  return g_idx_I;
}

}  // namespace swage::solvers
