// gptq_factor: order of the columns, dampening, and H = M D M^T from a Cholesky factorization of the reversed matrix.
#include <ATen/ops/arange.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_cholesky_ex.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "swage/base/error.h"
#include "swage/ops/parallel_tasks.h"
#include "swage/solvers/gptq.h"

namespace swage::solvers {
namespace {

constexpr int64_t kBlock = 32;  // side of the square blocks in which matrices are reordered
constexpr double kSmallestRetry = 1e-6;

// Calls work(row block, column block) in parallel for all blocks of an n x n matrix; each gets half-open ranges.
template <class Work>
void for_blocks(int64_t n, const Work& work) {
  ops::parallel_tasks((n + kBlock - 1) / kBlock, [] { return 0; }, [&](int64_t block, int) {
    for (int64_t c = 0; c < n; c += kBlock) work(block * kBlock, std::min(n, (block + 1) * kBlock), c, std::min(n, c + kBlock));
  });
}

// out[i][j] = gram[order[n-1-i]][order[n-1-j]] with `diagonal` (in the original order) on the diagonal.
at::Tensor reversed(const at::Tensor& gram_II, const std::vector<int64_t>& order, const std::vector<double>& diagonal) {
  const int64_t n = gram_II.size(0);
  at::Tensor out_II = at::empty({n, n}, at::kDouble);
  const double* gram = gram_II.const_data_ptr<double>();
  double* out = out_II.mutable_data_ptr<double>();
  ops::parallel_tasks(n, [] { return 0; }, [&](int64_t i, int) {
    const int64_t row = order[static_cast<size_t>(n - 1 - i)];
    for (int64_t j = 0; j < n; ++j) out[i * n + j] = gram[row * n + order[static_cast<size_t>(n - 1 - j)]];
    out[i * n + i] = diagonal[static_cast<size_t>(row)];
  });
  return out_II;
}

// With the reversed H = L L^T: R[i][j] = L[n-1-i][n-1-j] is upper triangular, H = R R^T, M = R / diag(R), D = diag(R)^2.
void unpack_factor(const at::Tensor& l_II, GptqFactor& factor) {
  const int64_t n = l_II.size(0), row_stride = l_II.stride(0), column_stride = l_II.stride(1);
  factor.m_II = at::empty({n, n}, at::kFloat);
  factor.d_I = at::empty({n}, at::kFloat);
  const double* l = l_II.const_data_ptr<double>();
  float* m = factor.m_II.mutable_data_ptr<float>();
  float* d = factor.d_I.mutable_data_ptr<float>();
  std::vector<double> inverse(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    const double pivot = l[(n - 1 - i) * (row_stride + column_stride)];
    inverse[static_cast<size_t>(i)] = 1 / pivot;
    d[i] = static_cast<float>(pivot * pivot);
  }
  for_blocks(n, [&](int64_t row, int64_t row_end, int64_t column, int64_t column_end) {
    for (int64_t i = row; i < row_end; ++i) {
      for (int64_t j = column; j < column_end; ++j) {
        const double r = l[(n - 1 - i) * row_stride + (n - 1 - j) * column_stride];
        m[i * n + j] = i > j ? 0.0f : i == j ? 1.0f : static_cast<float>(r * inverse[static_cast<size_t>(j)]);
      }
    }
  });
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
    SWAGE_CHECK(diagonal[static_cast<size_t>(i)] >= 0, Numerical, "gptq_factor: the Gram matrix is negative at ", i, " on its diagonal");
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
  SWAGE_CHECK(options.dampening >= 0 && options.max_retries >= 0, InvalidArgument, "gptq_factor: dampening ", options.dampening,
              " and max_retries ", options.max_retries, " must not be negative");
  const at::Tensor gram64_II = gram_II.to(at::kCPU, at::kDouble).contiguous();
  SWAGE_CHECK(std::isfinite(gram64_II.sum().item<double>()), Numerical, "gptq_factor: the Gram matrix holds a NaN or Inf");
  GptqFactor factor;
  double mean = 0;
  const std::vector<double> diagonal = live_diagonal(gram64_II, factor, mean);
  const std::vector<int64_t> order = visiting_order(gram64_II, options.act_order, factor);
  factor.dampening_used = options.dampening;
  for (;; ++factor.retries) {
    std::vector<double> dampened = diagonal;
    for (double& x : dampened) x += factor.dampening_used * mean;
    const auto [l_II, info] = at::linalg_cholesky_ex(reversed(gram64_II, order, dampened), /*upper=*/false, /*check_errors=*/false);
    if (info.item<int>() == 0) {
      unpack_factor(l_II, factor);
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
