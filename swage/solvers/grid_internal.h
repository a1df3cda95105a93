// What the solvers share about grids; not for other folders.
#pragma once
#include <algorithm>
#include <vector>

#include "swage/kernels/kernels.h"
#include "swage/solvers/grid.h"

namespace swage::solvers {

kernels::NumberFormat number_format_of(at::ScalarType dtype, const char* who);
kernels::CodeKind code_kind_of(CodeType type);
kernels::CodeRange code_range_of(const GridSpec& spec);
at::ScalarType code_dtype_of(const GridSpec& spec);

// Tiles of a weight that share a scale, the last ones cut at the edges.
struct Tiling {
  int64_t rows, columns;  // of the weight
  int64_t tile_rows, tile_columns;
  int64_t down, across;  // tiles
  bool whole() const { return down * across == 1; }
  std::vector<int64_t> scale_shape;  // [1] for one tile by strategy tensor, else [down, across]
};
Tiling tiling_of(const GridSpec& spec, int64_t rows, int64_t columns);

// Group of each of `columns` columns. Error(InvalidArgument) if grid.g_idx_I or the scales do not fit.
std::vector<int32_t> group_of_columns(const Grid& grid, const Tiling& tiles);

// How a scale follows from a range.
struct Formula {
  kernels::CodeRange codes;
  bool symmetric;
  float divisor;  // (max - min) / 2 if symmetric, else max - min
  kernels::ScaleRule rule;
  bool one_scale;  // for the whole tensor: its zero point is not rounded to the weight's type on the way
};
// `global_scale` as in Grid.
Formula formula_of(const GridSpec& spec, const at::Tensor& global_scale);

// The factors of a range that a search tries, in order. Error(InvalidArgument) if one of them, or the norm, is not
// positive.
std::vector<float> factors_of(const ScaleSearch& search, kernels::ScaleFormat format);

// A weight in its own number format, cut into tiles.
struct TiledWeight {
  const char* data;
  kernels::NumberFormat format;
  Tiling tiles;
  const void* at(int64_t row, int64_t column) const {
    return data + (row * tiles.columns + column) * kernels::bytes_of(format);
  }
};
struct Range {
  float low, high;
};
inline Range with_zero(Range range) { return {std::min(range.low, 0.0f), std::max(range.high, 0.0f)}; }
// Of `count` values in a row. Error(Numerical) if one is not finite.
Range range_of(const TiledWeight& weight, int64_t row, int64_t column, int64_t count);
// Of every tile, row of tiles after row of tiles.
std::vector<Range> ranges_of_tiles(const TiledWeight& weight);

// Scales, and zero points unless `zero` is null, [down * across], that minimize the p-norm of the error, column i's
// times importance[i] unless that is null.
void search_scales(const TiledWeight& weight, const Formula& formula, const ScaleSearch& search,
                   const float* importance, float* scale, float* zero);

}  // namespace swage::solvers
