// find_grid: ranges of all groups, then scales from the range (Absmax) or the best of several (PNorm,
// search_scales.cpp).
#include <ATen/Parallel.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/index_select.h>

#include <algorithm>
#include <cmath>

#include "swage/base/error.h"
#include "swage/ops/device.h"
#include "swage/solvers/grid_internal.h"

namespace swage::solvers {
namespace {

using kernels::NumberFormat;
using kernels::ScaleFormat;

struct Parameters {
  float scale, zero;
};

// compressed-tensors' arithmetic: every operation is rounded to the weight's number format.
Parameters from_range(const Formula& f, NumberFormat format, Range range) {
  const auto rounded = [format](float x) { return kernels::round_to(format, x); };
  const float width = f.symmetric ? std::max(-range.low, range.high) : rounded(range.high - range.low);
  const float raw = rounded(width / f.divisor), scale = kernels::stored_scale(f.rule, raw, width);
  if (f.symmetric) return {scale, 0};
  const float ratio = rounded(range.low / kernels::rounded_scale(f.rule, raw));  // NaN for a group of zeros
  const float zero = f.one_scale ? f.codes.min - ratio : rounded(f.codes.min - ratio);
  if (std::isnan(zero)) return {scale, 0};
  return {scale, std::nearbyint(std::clamp(zero, f.codes.min, f.codes.max))};
}

// Groups that are parts of rows, as those of a checkpoint mostly are: no list of their ranges is needed.
void absmax_of_rows(const TiledWeight& weight, const Formula& formula, float* scale, float* zero) {
  const Tiling& tiles = weight.tiles;
  const int64_t per_step = std::max<int64_t>(1, (1 << 16) / tiles.tile_columns);
  at::parallel_for(0, tiles.down * tiles.across, per_step, [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) {
      const Range range =
          with_zero(range_of(weight, g / tiles.across, g % tiles.across * tiles.tile_columns, tiles.tile_columns));
      const Parameters p = from_range(formula, weight.format, range);
      scale[g] = p.scale;
      if (zero != nullptr) zero[g] = p.zero;
    }
  });
}

void absmax_of_tiles(const TiledWeight& weight, const Formula& formula, float* scale, float* zero) {
  const std::vector<Range> ranges = ranges_of_tiles(weight);
  for (size_t i = 0; i < ranges.size(); ++i) {
    const Parameters p = from_range(formula, weight.format, with_zero(ranges[i]));
    scale[i] = p.scale;
    if (zero != nullptr) zero[i] = p.zero;
  }
}

// The weight with its columns in the order of their groups.
at::Tensor in_group_order(const at::Tensor& w_OI, const at::Tensor& g_idx_I, const GridSpec& spec) {
  const int64_t columns = w_OI.size(1), groups = groups_of(spec, columns);
  SWAGE_CHECK(g_idx_I.dim() == 1 && g_idx_I.size(0) == columns && g_idx_I.scalar_type() == at::kInt, InvalidArgument,
              "find_grid: g_idx must be int32 [", columns, "], got ", g_idx_I.scalar_type(), " ", g_idx_I.sizes());
  SWAGE_CHECK(spec.group_rows == 1, InvalidArgument, "find_grid: groups of scattered columns have one row, got ",
              spec.group_rows);
  const at::Tensor order_I = at::argsort(g_idx_I, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  const at::Tensor sorted_I = g_idx_I.index_select(0, order_I);
  const int32_t* group = sorted_I.const_data_ptr<int32_t>();
  for (int64_t i = 0; i < columns; ++i) {
    SWAGE_CHECK(group[i] == i / (columns / groups), InvalidArgument, "find_grid: g_idx does not give each of ", groups,
                " groups ", columns / groups, " columns");
  }
  return w_OI.index_select(1, order_I).contiguous();
}

// The search's, in the order of the weight's columns there.
at::Tensor importance_of(const ScaleSearch& search, int64_t columns, const at::Tensor& g_idx_I, const GridSpec& spec) {
  const at::Tensor& given_I = search.importance_I;
  if (!given_I.defined()) return {};
  SWAGE_CHECK(
      given_I.dim() == 1 && given_I.size(0) == columns && ops::on_host(given_I) && given_I.scalar_type() == at::kFloat,
      InvalidArgument, "find_grid: importance must be f32 [", columns, "] on the CPU, got ", given_I.scalar_type(), " ",
      given_I.sizes());
  return g_idx_I.defined() ? in_group_order(given_I.unsqueeze(0), g_idx_I, spec).squeeze(0) : given_I.contiguous();
}

float absmax_of(const at::Tensor& weight) {
  const at::Tensor flat = weight.contiguous().view({1, -1});
  const GridSpec whole{.group_rows = 0};
  const TiledWeight rows{static_cast<const char*>(flat.const_data_ptr()),
                         number_format_of(flat.scalar_type(), "global scale"), tiling_of(whole, 1, flat.numel())};
  const Range range = with_zero(range_of(rows, 0, 0, flat.numel()));
  return std::max(-range.low, range.high);
}

ScaleFormat scale_format_of(at::ScalarType dtype) {
  if (dtype == at::kFloat8_e4m3fn) return ScaleFormat::E4M3;
  if (dtype == at::kByte) return ScaleFormat::PowerOfTwo;
  switch (number_format_of(dtype, "find_grid: scale_dtype")) {
    case NumberFormat::BF16:
      return ScaleFormat::BF16;
    case NumberFormat::F16:
      return ScaleFormat::F16;
    case NumberFormat::F32:
      break;
  }
  return ScaleFormat::F32;
}

float zero_scale_of(ScaleFormat format) {
  switch (format) {
    case ScaleFormat::BF16:
      return 0x1p-7f;
    case ScaleFormat::F16:
      return 0x1p-10f;
    case ScaleFormat::E4M3:
      return 0x1p-3f;
    case ScaleFormat::F32:
    case ScaleFormat::PowerOfTwo:
      break;
  }
  return 0x1p-23f;
}

}  // namespace

Formula formula_of(const GridSpec& spec, const at::Tensor& global_scale) {
  const ScaleFormat format = scale_format_of(spec.scale_dtype);
  const bool under_global = format == ScaleFormat::E4M3, floats = spec.type != CodeType::Int;
  SWAGE_CHECK(!under_global || spec.type == CodeType::Fp4E2M1, InvalidArgument,
              "grid: scales in FP8 under a global scale are for FP4 codes");
  SWAGE_CHECK(format != ScaleFormat::PowerOfTwo || floats, InvalidArgument,
              "grid: scales that are powers of two are for float codes");
  SWAGE_CHECK(under_global == global_scale.defined(), InvalidArgument,
              "grid: a global scale goes with scales in FP8, and only with them");
  const double span = spec.code_max - spec.code_min;
  Formula formula{code_range_of(spec),
                  spec.symmetric,
                  static_cast<float>(spec.symmetric ? span / 2 : span),
                  {format, code_kind_of(spec.type), zero_scale_of(format), 1.0f},
                  spec.group_rows == 0 && spec.group_size == 0};
  if (!under_global) return formula;
  SWAGE_CHECK(global_scale.numel() == 1 && global_scale.scalar_type() == at::kFloat, InvalidArgument,
              "grid: expected a global scale f32 [1], got ", global_scale.scalar_type(), " ", global_scale.sizes());
  formula.rule.global = global_scale.item<float>();
  SWAGE_CHECK(formula.rule.global > 0 && std::isfinite(formula.rule.global), InvalidArgument,
              "grid: the global scale is ", formula.rule.global);
  return formula;
}

Range range_of(const TiledWeight& weight, int64_t row, int64_t column, int64_t count) {
  kernels::ValueRange range{weight.at(row, column), weight.format, count, 0, 0};
  kernels::fast_kernels().value_range(range);
  SWAGE_CHECK(!std::isnan(range.low), Numerical, "the weight holds a NaN or Inf (row ", row, ", columns ", column,
              " to ", column + count - 1, ")");
  return {range.low, range.high};
}

std::vector<Range> ranges_of_tiles(const TiledWeight& weight) {
  const Tiling& tiles = weight.tiles;
  std::vector<Range> strips(static_cast<size_t>(tiles.rows * tiles.across)),
      out(static_cast<size_t>(tiles.down * tiles.across), Range{INFINITY, -INFINITY});
  at::parallel_for(0, tiles.rows, std::max<int64_t>(1, (1 << 16) / tiles.columns), [&](int64_t begin, int64_t end) {
    for (int64_t strip = begin * tiles.across; strip < end * tiles.across; ++strip) {
      const int64_t column = strip % tiles.across * tiles.tile_columns;
      strips[static_cast<size_t>(strip)] =
          range_of(weight, strip / tiles.across, column, std::min(tiles.tile_columns, tiles.columns - column));
    }
  });
  for (int64_t strip = 0; strip < tiles.rows * tiles.across; ++strip) {
    Range& tile =
        out[static_cast<size_t>(strip / tiles.across / tiles.tile_rows * tiles.across + strip % tiles.across)];
    tile.low = std::min(tile.low, strips[static_cast<size_t>(strip)].low);
    tile.high = std::max(tile.high, strips[static_cast<size_t>(strip)].high);
  }
  return out;
}

at::Tensor global_scale_of(double absmax, at::ScalarType dtype) {
  const NumberFormat format = number_format_of(dtype, "global scale");
  const float smallest = format == NumberFormat::F16 ? 0x1p-14f : 0x1p-126f;
  // The library's quotient of a number and a tensor is the number times the rounded reciprocal.
  const float reciprocal = kernels::round_to(format, 1.0f / std::max(static_cast<float>(absmax), smallest));
  float scale = kernels::round_to(format, 2688.0f * reciprocal);
  if (!std::isfinite(scale) && absmax > 0) scale = 2688.0f / static_cast<float>(absmax);  // f16 ends at 65504
  return at::full({1}, std::isfinite(scale) ? scale : 1.0f, at::kFloat);
}

at::Tensor shared_global_scale(const std::vector<at::Tensor>& weights) {
  SWAGE_CHECK(!weights.empty(), InvalidArgument, "shared_global_scale: no weights");
  float absmax = 0;
  for (const at::Tensor& weight : weights) {
    SWAGE_CHECK(ops::on_host(weight) && weight.numel() > 0 && weight.scalar_type() == weights[0].scalar_type(),
                InvalidArgument, "shared_global_scale: expected weights of one dtype on the CPU, got ",
                weight.scalar_type(), " ", weight.sizes());
    absmax = std::max(absmax, absmax_of(weight));
  }
  return global_scale_of(absmax, weights[0].scalar_type());
}

RangeScales scales_of_ranges(const at::Tensor& low, const at::Tensor& high, const GridSpec& spec, at::ScalarType dtype,
                             const at::Tensor& global_scale) {
  SWAGE_CHECK(low.sizes() == high.sizes(), InvalidArgument, "scales_of_ranges: ", low.sizes(), " smallest and ",
              high.sizes(), " largest values");
  const at::Tensor lows = low.to(at::kFloat).contiguous(), highs = high.to(at::kFloat).contiguous();
  const NumberFormat format = number_format_of(dtype, "scales_of_ranges");
  const Formula formula = formula_of(spec, global_scale);
  RangeScales out{at::empty(low.sizes(), at::kFloat),
                  spec.symmetric ? at::Tensor() : at::empty(low.sizes(), at::kFloat)};
  for (int64_t i = 0; i < lows.numel(); ++i) {
    const Range range = with_zero({lows.const_data_ptr<float>()[i], highs.const_data_ptr<float>()[i]});
    const Parameters p = from_range(formula, format, range);
    out.scale.mutable_data_ptr<float>()[i] = p.scale;
    if (!spec.symmetric) out.zero_point.mutable_data_ptr<float>()[i] = p.zero;
  }
  return out;
}

Grid find_grid(const at::Tensor& w_OI, const GridSpec& spec, const ScaleSearch& search, const at::Tensor& g_idx_I,
               const at::Tensor& global_scale) {
  SWAGE_CHECK(ops::is_host_matrix(w_OI), InvalidArgument, "find_grid: expected a matrix on the CPU, got ",
              w_OI.sizes());
  Grid grid;
  grid.spec = spec;
  grid.g_idx_I = g_idx_I;
  grid.global_scale = global_scale;
  const at::Tensor weight_OI = g_idx_I.defined() ? in_group_order(w_OI, g_idx_I, spec) : w_OI.contiguous();
  const TiledWeight weight{static_cast<const char*>(weight_OI.const_data_ptr()),
                           number_format_of(w_OI.scalar_type(), "find_grid"),
                           tiling_of(spec, w_OI.size(0), w_OI.size(1))};
  if (spec.scale_dtype == at::kFloat8_e4m3fn && !global_scale.defined())
    grid.global_scale = shared_global_scale({weight_OI});
  const Formula formula = formula_of(spec, grid.global_scale);
  grid.scale_OG = at::empty(weight.tiles.scale_shape, at::kFloat);
  if (!spec.symmetric) grid.zero_point_OG = at::empty(weight.tiles.scale_shape, at::kFloat);
  float* scale = grid.scale_OG.mutable_data_ptr<float>();
  float* zero = spec.symmetric ? nullptr : grid.zero_point_OG.mutable_data_ptr<float>();
  if (search.kind == ScaleSearch::Kind::PNorm) {
    const at::Tensor importance_I = importance_of(search, w_OI.size(1), g_idx_I, spec);
    search_scales(weight, formula, search, importance_I.defined() ? importance_I.const_data_ptr<float>() : nullptr,
                  scale, zero);
  } else if (weight.tiles.tile_rows == 1) {
    absmax_of_rows(weight, formula, scale, zero);
  } else {
    absmax_of_tiles(weight, formula, scale, zero);
  }
  return grid;
}

}  // namespace swage::solvers
