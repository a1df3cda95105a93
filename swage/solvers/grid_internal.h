// What the solvers share about grids; not for other folders.
#pragma once
#include <vector>

#include "swage/kernels/kernels.h"
#include "swage/solvers/grid.h"

namespace swage::solvers {

kernels::NumberFormat number_format_of(at::ScalarType dtype, const char* who);
kernels::CodeRange code_range_of(const GridSpec& spec);
at::ScalarType code_dtype_of(const GridSpec& spec);
// Group of each of `columns` columns. Error(InvalidArgument) if grid.g_idx_I or the scales do not fit.
std::vector<int32_t> group_of_columns(const Grid& grid, int64_t rows, int64_t columns);
// Factors a search tries; {1} for Absmax.
std::vector<float> search_factors(const ScaleSearch& search);

}  // namespace swage::solvers
