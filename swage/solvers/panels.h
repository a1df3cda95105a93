// How the solvers' kernels see matrices: rows of a weight side by side, columns of the factor interleaved.
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/kernels/kernels.h"

namespace swage::solvers {

constexpr int64_t kTransposedColumns = 16;          // that are transposed for all rows of a panel before the next ones
constexpr int64_t kTaskRows = 2 * kernels::kPanel;  // enough for matrix products, few enough to share among threads

// The unit upper triangular factor m_II (f32) as kernels::GptqPanel wants it, with zeros in the columns up to `padded`.
at::Tensor packed_factor(const at::Tensor& m_II, int64_t padded);

// The first `columns` of `lanes` rows, `stride` apart, as [columns, kPanel]; lanes without a row repeat the last one.
void load_panel(const float* rows, int64_t stride, int64_t lanes, int64_t columns, float* panel);
// The inverse, for the lanes that have a row.
void store_panel(const float* panel, int64_t lanes, int64_t columns, int64_t stride, float* rows);

}  // namespace swage::solvers
