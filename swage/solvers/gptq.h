// GPTQ in its LDL form (Babai's nearest plane): with H = M D M^T, M unit upper triangular, the column
// v_i = w_i + sum_{k<i} (w_k - q_k) M_{ki} is rounded to its grid. Same codes as Frantar et al. 2022 (arXiv:2210.17323,
// Algorithm 1) without an inverse: Chen et al. 2025, arXiv:2507.18553.
// O output rows, I input columns, G groups of columns.
#pragma once
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "swage/solvers/grid.h"

namespace swage::solvers {

enum class ActOrder {
  None,    // columns as they stand
  Static,  // columns by falling diag(H); scales of the original, consecutive groups ("static", "weight")
  Group,   // groups of the sorted columns; needs g_idx to be stored
};

// Dampening of the first retry where none was asked for.
constexpr double kSmallestRetry = 1e-6;

struct GptqOptions {
  double dampening = 0.01;  // share of mean(diag(H)) added to the diagonal
  int max_retries = 8;      // the dampening is multiplied by 10 for each retry of a failed factorization
  ActOrder act_order = ActOrder::Static;
};

// The factor of one Gram matrix, shared by all linears that read the same input.
struct GptqFactor {
  at::Tensor m_II;             // f32, unit upper triangular, in the visiting order
  at::Tensor d_I;              // f32, diagonal of D, in the visiting order
  at::Tensor permutation_I;    // int64: visiting position -> original column; undefined for the natural order
  at::Tensor dead_I;           // bool, original order: diag(H) was 0, the column's weights count as 0
  double dampening_used = 0;   // share of the mean, after retries
  double dampening_added = 0;  // that share of it: what was added to the diagonal
  int retries = 0;
};

// `gram_II` is X^T X, f64 or f32, symmetric (gram_finish() was called), any positive multiple; factored in f64. The
// mean of the diagonal is that of the live columns; a dead one gets it as its diagonal. Dampening starts at
// options.dampening (for retries: at 1e-6 if that is 0). Error(Numerical) if it stays indefinite after all retries or
// holds a NaN or Inf.
GptqFactor gptq_factor(const at::Tensor& gram_II, const GptqOptions& options);

// Groups of `group_size` columns in the visiting order, for find_grid() with ActOrder::Group: int32 [I], the group of
// each original column. Error(InvalidArgument) if group_size does not divide I.
at::Tensor group_act_order_g_idx(const GptqFactor& factor, int64_t group_size);

struct GptqResult {
  at::Tensor codes_OI;  // codes in original column order, in the dtype of quantize_to_grid()
  double loss = 0;      // sum_i D_i (v_i - q_i)^2 over all rows = tr(dW H dW^T) with the dampened H
};

// Quantizes w_OI (f32, bf16 or f16) onto `grid`, of any code type, groups, blocks or one scale for all (its scales have
// the original column order unless grid.g_idx_I is set). dW is the difference of the result to w_OI with dead columns
// set to 0. The result does not depend on the number of threads. With `keep_zeros`, what is 0 in w_OI stays 0 (the code
// of its zero point): a pruned weight keeps its mask.
GptqResult gptq_solve(const at::Tensor& w_OI, const GptqFactor& factor, const Grid& grid, bool keep_zeros = false);

}  // namespace swage::solvers
