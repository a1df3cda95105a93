// Refit of a pruned weight Q under the objective that pruned it, tr((W - Q) H (W - Q)^T): block coordinate descent.
// Unstructured, every kept value moves to its exact one-dimensional minimum; in N:M each group of M columns takes the
// best of all its supports, each with its exact least-squares values, given all other columns. No step can raise the
// loss. The values that SparseGPT keeps are not optimal: it never goes back to a column. (Refit as in Boza 2024,
// arXiv:2401.02938.) O output rows, I input columns.
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/solvers/sparsity_pattern.h"

namespace swage::solvers {

struct SparseRefitOptions {
  SparsityPattern pattern;
  int sweeps = 4;    // over all columns; 0 leaves everything as it is
  bool swap = true;  // N:M: whether other supports are tried, where M <= 8; false: zeros stay zeros
};

// Changes q_OI (f32, contiguous, [O, I]) in place. w_OI f32 [O, I], gram_II f32 [I, I], symmetric, with the dampening
// it was pruned with on its diagonal; a column whose diagonal is 0 keeps its values. The result does not depend on the
// number of threads. Returns tr((W - Q) H (W - Q)^T).
double sparse_refit(const at::Tensor& w_OI, const at::Tensor& gram_II, const SparseRefitOptions& options,
                    at::Tensor& q_OI);

}  // namespace swage::solvers
