// find_grid: ranges of all groups, then scales from the range (Absmax) or the best of several (PNorm).
#include <ATen/Parallel.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>

#include <cmath>

#include "swage/base/error.h"
#include "swage/ops/parallel_tasks.h"
#include "swage/solvers/grid_internal.h"

namespace swage::solvers {
namespace {

using kernels::kSearchLanes;
using kernels::NumberFormat;

// All groups of a weight as rows of one matrix [count, size], in the weight's own number format.
struct Groups {
  const char* data;
  NumberFormat format;
  int64_t count, size;
  const void* group(int64_t g) const { return data + g * size * kernels::bytes_of(format); }
};

// How a scale follows from a range.
struct Formula {
  kernels::CodeRange codes;
  bool symmetric;
  float divisor;               // (max - min) / 2 if symmetric, else max - min
  NumberFormat scale_format;
  float zero_scale;            // stands for a scale of 0
};

float epsilon_of(NumberFormat format) {
  switch (format) {
    case NumberFormat::BF16: return 0x1p-7f;
    case NumberFormat::F16: return 0x1p-10f;
    case NumberFormat::F32: break;
  }
  return 0x1p-23f;
}

Formula formula_of(const GridSpec& spec) {
  const NumberFormat format = number_format_of(spec.scale_dtype, "find_grid: scale_dtype");
  const double span = spec.code_max - spec.code_min;
  return {code_range_of(spec), spec.symmetric, static_cast<float>(spec.symmetric ? span / 2 : span), format, epsilon_of(format)};
}

struct Parameters {
  float scale, zero;
};

// compressed-tensors' arithmetic: every operation is rounded to the weight's number format.
Parameters from_range(const Formula& f, NumberFormat format, float low, float high) {
  const auto rounded = [format](float x) { return kernels::round_to(format, x); };
  const float width = f.symmetric ? std::max(-low, high) : rounded(high - low);
  const float raw = kernels::round_to(f.scale_format, rounded(width / f.divisor));
  const float scale = raw == 0.0f ? f.zero_scale : raw;
  if (f.symmetric) return {scale, 0};
  const float zero = rounded(f.codes.min - rounded(low / raw));  // NaN for a group of zeros
  if (std::isnan(zero)) return {scale, 0};
  return {scale, std::nearbyint(std::clamp(zero, f.codes.min, f.codes.max))};
}

// Range of group g with 0 inside it.
void range_of(const Groups& groups, int64_t g, float& low, float& high) {
  kernels::ValueRange range{groups.group(g), groups.format, groups.size, 0, 0};
  kernels::fast_kernels().value_range(range);
  SWAGE_CHECK(!std::isnan(range.low), Numerical, "find_grid: the weight holds a NaN or Inf (group ", g, " of ", groups.size, " values)");
  low = std::min(range.low, 0.0f);
  high = std::max(range.high, 0.0f);
}

void absmax_scales(const Groups& groups, const Formula& formula, float* scale, float* zero) {
  const int64_t per_step = std::max<int64_t>(1, (1 << 16) / groups.size);
  at::parallel_for(0, groups.count, per_step, [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) {
      float low, high;
      range_of(groups, g, low, high);
      const Parameters p = from_range(formula, groups.format, low, high);
      scale[g] = p.scale;
      if (zero != nullptr) zero[g] = p.zero;
    }
  });
}

// Scratch memory of one worker of the search.
struct SearchPanel {
  at::Tensor weight;
  alignas(64) float low[kSearchLanes], high[kSearchLanes], scale[kSearchLanes], zero[kSearchLanes];
};

// Puts groups first .. first + lanes side by side; lanes without a group hold zeros.
void fill_panel(const Groups& groups, int64_t first, int64_t lanes, SearchPanel& panel) {
  constexpr int64_t kBlock = 16;  // columns copied for all lanes before the next ones: 16 lines of the panel
  float* to = panel.weight.mutable_data_ptr<float>();
  for (int64_t lane = 0; lane < kSearchLanes; ++lane) {
    panel.low[lane] = panel.high[lane] = 0;
    if (lane < lanes) range_of(groups, first + lane, panel.low[lane], panel.high[lane]);
  }
  for (int64_t i0 = 0; i0 < groups.size; i0 += kBlock) {
    for (int64_t lane = 0; lane < kSearchLanes; ++lane) {
      const void* from = groups.group(first + std::min(lane, lanes - 1));
      for (int64_t i = i0; i < std::min(i0 + kBlock, groups.size); ++i) {
        to[i * kSearchLanes + lane] = lane < lanes ? kernels::load_as_float(from, groups.format, i) : 0.0f;
      }
    }
  }
}

void searched_scales(const Groups& groups, const Formula& formula, const ScaleSearch& search, float* scale, float* zero) {
  const std::vector<float> factors = search_factors(search);
  const auto make_panel = [&] {
    SearchPanel panel{};
    panel.weight = at::empty({groups.size * kSearchLanes}, at::kFloat);
    return panel;
  };
  const int64_t panels = (groups.count + kSearchLanes - 1) / kSearchLanes;
  ops::parallel_tasks(panels, make_panel, [&](int64_t task, SearchPanel& panel) {
    const int64_t first = task * kSearchLanes, lanes = std::min(kSearchLanes, groups.count - first);
    fill_panel(groups, first, lanes, panel);
    kernels::fast_kernels().search_scales({panel.weight.const_data_ptr<float>(), groups.size, panel.low, panel.high, factors.data(),
                                           static_cast<int64_t>(factors.size()), static_cast<float>(search.norm), formula.codes,
                                           formula.symmetric, formula.divisor, formula.scale_format, formula.zero_scale, panel.scale, panel.zero});
    std::copy(panel.scale, panel.scale + lanes, scale + first);
    if (zero != nullptr) std::copy(panel.zero, panel.zero + lanes, zero + first);
  });
}

// The weight with its columns in the order of their groups.
at::Tensor in_group_order(const at::Tensor& w_OI, const at::Tensor& g_idx_I, int64_t groups) {
  const int64_t columns = w_OI.size(1);
  SWAGE_CHECK(g_idx_I.dim() == 1 && g_idx_I.size(0) == columns && g_idx_I.scalar_type() == at::kInt, InvalidArgument,
              "find_grid: g_idx must be int32 [", columns, "], got ", g_idx_I.scalar_type(), " ", g_idx_I.sizes());
  const at::Tensor order_I = at::argsort(g_idx_I, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  const at::Tensor sorted_I = g_idx_I.index_select(0, order_I);
  const int32_t* group = sorted_I.const_data_ptr<int32_t>();
  for (int64_t i = 0; i < columns; ++i) {
    SWAGE_CHECK(group[i] == i / (columns / groups), InvalidArgument, "find_grid: g_idx does not give each of ", groups,
                " groups ", columns / groups, " columns");
  }
  return w_OI.index_select(1, order_I).contiguous();
}

}  // namespace

std::vector<float> search_factors(const ScaleSearch& search) {
  if (search.kind == ScaleSearch::Kind::Absmax) return {1.0f};
  SWAGE_CHECK(search.steps > 0 && search.norm > 0 && search.largest - search.step * (search.steps - 1) > 0, InvalidArgument,
              "scale search: factors from ", search.largest, " in ", search.steps, " steps of ", search.step, " and norm ", search.norm,
              " must all be positive");
  std::vector<float> factors;
  for (int i = 0; i < search.steps; ++i) factors.push_back(static_cast<float>(search.largest - search.step * i));
  return factors;
}

Grid find_grid(const at::Tensor& w_OI, const GridSpec& spec, const ScaleSearch& search, const at::Tensor& g_idx_I) {
  SWAGE_CHECK(w_OI.dim() == 2 && w_OI.is_cpu() && w_OI.numel() > 0, InvalidArgument, "find_grid: expected a matrix on the CPU, got ", w_OI.sizes());
  const int64_t rows = w_OI.size(0), columns = w_OI.size(1), per_row = groups_of(spec, columns);
  const at::Tensor weight_OI = g_idx_I.defined() ? in_group_order(w_OI, g_idx_I, per_row) : w_OI.contiguous();
  const Groups groups{static_cast<const char*>(weight_OI.const_data_ptr()), number_format_of(w_OI.scalar_type(), "find_grid"),
                      rows * per_row, columns / per_row};
  const Formula formula = formula_of(spec);
  Grid grid{spec, at::empty({rows, per_row}, at::kFloat), {}, g_idx_I};
  if (!spec.symmetric) grid.zero_point_OG = at::empty({rows, per_row}, at::kFloat);
  float* scale = grid.scale_OG.mutable_data_ptr<float>();
  float* zero = spec.symmetric ? nullptr : grid.zero_point_OG.mutable_data_ptr<float>();
  if (search.kind == ScaleSearch::Kind::Absmax) absmax_scales(groups, formula, scale, zero);
  else searched_scales(groups, formula, search, scale, zero);
  return grid;
}

}  // namespace swage::solvers
