// Refinement of a solved weight under the same objective, tr((W - Q) H (W - Q)^T): group by group, the scale that fits
// the codes best in closed form, rounded as it is stored, then each code to its best value given all others (coordinate
// descent, as in QuIP, arXiv:2307.13304, 4.2). Neither step can raise the loss. O output rows, I input columns, G
// groups of columns.
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/solvers/grid.h"

namespace swage::solvers {

// A column whose diagonal is below this share of the mean diagonal counts as dead; it gets that share instead.
constexpr double kLeastDiagonal = 1e-6;

struct RefineOptions {
  int sweeps = 2;            // over all columns; 0 leaves everything as it is
  bool refit_scales = true;  // where a group has at most kernels::kLongestRefit consecutive columns
  bool keep_zeros = false;   // what is 0 in w_OI keeps its code
};

// Changes codes_OI (of gptq_solve or quantize_to_grid) and the scales of `grid` in place. w_OI f32, gram_II f32 [I, I].
// Grids with g_idx, blocks or one scale for all rows are left as they are. Power-of-two scales are kept. The result
// does not depend on the number of threads. Returns tr((W - Q) H (W - Q)^T) after the last sweep.
double refine(const at::Tensor& w_OI, const at::Tensor& gram_II, const RefineOptions& options, at::Tensor& codes_OI,
              Grid& grid);
// The most bytes that it takes at once beside its arguments, results apart.
double refine_bytes(int64_t rows, int64_t columns, int threads);

}  // namespace swage::solvers
