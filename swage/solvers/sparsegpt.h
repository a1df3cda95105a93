// SparseGPT, Frantar & Alistarh 2023, arXiv:2301.00774, Algorithm 1, on the factor of GPTQ: with H = M D M^T, M unit
// upper triangular, the column v_i = w_i + sum_{k<i} (w_k - q_k) M_ki is dropped (q_i = 0) or kept (q_i = v_i).
// Dropping costs D_i v_i^2, which is the paper's w^2 / [H^-1]_ii; what is chosen together is judged by the v that
// follow if all of it is kept. Weights and masks are those of the form with an explicit inverse. O output rows, I input
// columns.
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/solvers/gptq.h"
#include "swage/solvers/sparsity_pattern.h"

namespace swage::solvers {

struct SparseGptOptions {
  SparsityPattern pattern;
  int64_t block_size = 128;    // unstructured: columns whose mask is chosen together, over all rows; a multiple of 8
  bool preserve_mask = false;  // zeros of the weight stay zeros and count
};

struct SparseResult {
  at::Tensor w_OI;  // f32, with its zeros
  double loss = 0;  // tr(dW H dW^T) with the dampened H
};

// Unstructured, the mask of a block drops what costs at most as much as the floor(O * block * sparsity)-th of its costs
// counted from 0, as LLM Compressor does. With groups, N of M go when the first of them is reached; M <=
// kernels::kLongestPruneGroup. w_OI is f32 on the CPU; the factor has the natural order of columns (ActOrder::None);
// its dead columns become 0. Error(InvalidArgument) if with preserve_mask there are more zeros than asked. The result
// does not depend on the number of threads.
SparseResult sparsegpt_solve(const at::Tensor& w_OI, const GptqFactor& factor, const SparseGptOptions& options);

}  // namespace swage::solvers
