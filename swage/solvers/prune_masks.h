// Masks from scores: which weights are kept. O output rows, I input columns.
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/solvers/sparsity_pattern.h"

namespace swage::solvers {

// Wanda, Sun et al. 2023, arXiv:2306.11695: the least |w| sqrt(sum x^2) go, in each row, or in each group of M columns.
// `diagonal_I` (f32 or f64) is that of the Gram matrix, any positive multiple. bool [O, I], true: kept. Of equals the
// first goes. Exactly floor(I * sparsity) of a row go. Error(InvalidArgument) if M does not divide I.
at::Tensor wanda_mask(const at::Tensor& w_OI, const at::Tensor& diagonal_I, const SparsityPattern& pattern);

// The least |w| go: floor(O * I * sparsity) of the whole weight, or N of each group.
at::Tensor magnitude_mask(const at::Tensor& w_OI, const SparsityPattern& pattern);

// Error(InvalidArgument) naming `who` unless the pattern makes sense for a weight of that many columns.
void check_pattern(const char* who, const SparsityPattern& pattern, int64_t columns);

}  // namespace swage::solvers
