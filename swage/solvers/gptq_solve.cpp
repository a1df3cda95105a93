// gptq_solve: puts kPanel rows of the weight side by side in visiting order, runs the kernel, puts the codes back.
#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

#include "swage/base/error.h"
#include "swage/ops/device.h"
#include "swage/ops/parallel_tasks.h"
#include "swage/solvers/gptq.h"
#include "swage/solvers/grid_internal.h"
#include "swage/solvers/panels.h"
#include "swage/solvers/upper_cholesky.h"

namespace swage::solvers {
namespace {

using kernels::kColumnGroup;
using kernels::kPanel;

// What all panels share.
struct Problem {
  const char* weight;
  kernels::NumberFormat format;
  int64_t rows, columns, padded;  // columns rounded up to kColumnGroup
  int64_t groups, scale_rows;     // rows of the weight that share a row of scales
  std::vector<int64_t> order;     // [columns]: visiting position -> original column
  std::vector<int64_t> dead;      // visiting positions of dead columns
  std::vector<int32_t> group;     // [padded], visiting order
  std::vector<float> d;           // [padded]
  at::Tensor m;                   // packed as the kernel wants it
  const float* scale;             // [rows / scale_rows, groups]
  const float* zero;              // or null
  kernels::CodeRange range;
};

struct Panel {
  at::Tensor weight_error, codes, scale, inverse_scale, zero;
  at::Tensor keep;  // undefined unless zeros are kept
  alignas(64) double loss[kPanel];
};

void check(const at::Tensor& w_OI, const GptqFactor& factor) {
  SWAGE_CHECK(ops::is_host_matrix(w_OI), InvalidArgument, "gptq_solve: expected a matrix on the CPU, got ",
              w_OI.sizes());
  SWAGE_CHECK(factor.m_II.defined() && factor.m_II.size(0) == w_OI.size(1), InvalidArgument, "gptq_solve: a factor of ",
              factor.m_II.defined() ? factor.m_II.size(0) : 0, " columns for a weight of ", w_OI.size(1));
}

Problem make_problem(const at::Tensor& weight_OI, const GptqFactor& factor, const Grid& grid) {
  Problem p;
  p.weight = static_cast<const char*>(weight_OI.const_data_ptr());
  p.format = number_format_of(weight_OI.scalar_type(), "gptq_solve");
  p.rows = weight_OI.size(0);
  p.columns = weight_OI.size(1);
  p.padded = (p.columns + kColumnGroup - 1) / kColumnGroup * kColumnGroup;
  const Tiling tiles = tiling_of(grid.spec, p.rows, p.columns);
  const std::vector<int32_t> group = group_of_columns(grid, tiles);
  p.groups = tiles.across;
  p.scale_rows = tiles.tile_rows;
  p.group.assign(static_cast<size_t>(p.padded), 0);
  p.d.assign(static_cast<size_t>(p.padded), 0.0f);
  const int64_t* permutation =
      factor.permutation_I.defined() ? factor.permutation_I.const_data_ptr<int64_t>() : nullptr;
  const bool* dead = factor.dead_I.const_data_ptr<bool>();
  for (int64_t i = 0; i < p.columns; ++i) {
    const int64_t column = permutation == nullptr ? i : permutation[i];
    p.order.push_back(column);
    if (dead[column]) p.dead.push_back(i);
    p.group[static_cast<size_t>(i)] = group[static_cast<size_t>(column)];
    p.d[static_cast<size_t>(i)] = factor.d_I.const_data_ptr<float>()[i];
  }
  p.m = packed_factor(factor.m_II, p.padded);
  p.scale = grid.scale_OG.const_data_ptr<float>();
  p.zero = grid.spec.symmetric ? nullptr : grid.zero_point_OG.const_data_ptr<float>();
  p.range = code_range_of(grid.spec);
  return p;
}

Panel make_panel(const Problem& p, bool keep_zeros) {
  Panel panel{};
  if (keep_zeros) panel.keep = at::empty({p.padded * kPanel}, at::kFloat);
  panel.weight_error = at::empty({p.padded * kPanel}, at::kFloat);
  panel.codes = at::empty({p.padded * kPanel}, at::kByte);
  panel.scale = at::empty({p.groups * kPanel}, at::kFloat);
  panel.inverse_scale = at::empty({p.groups * kPanel}, at::kFloat);
  panel.zero = at::empty({p.groups * kPanel}, at::kFloat);
  return panel;
}

// Rows first .. first + rows of the weight, transposed to the visiting order; lanes without a row repeat the last one.
template <kernels::NumberFormat kFormat>
void transpose(const Problem& p, int64_t first, int64_t rows, float* to) {
  const int64_t* order = p.order.data();
  for (int64_t i0 = 0; i0 < p.columns; i0 += kTransposedColumns) {
    const int64_t end = std::min(i0 + kTransposedColumns, p.columns);
    for (int64_t lane = 0; lane < kPanel; ++lane) {
      const char* row = p.weight + (first + std::min(lane, rows - 1)) * p.columns * kernels::bytes_of(kFormat);
      for (int64_t i = i0; i < end; ++i) to[i * kPanel + lane] = kernels::load_as_float(row, kFormat, order[i]);
    }
  }
}

// The same for any format, with zeros for dead and padding columns.
void load_weight(const Problem& p, int64_t first, int64_t rows, float* to) {
  switch (p.format) {
    case kernels::NumberFormat::F32:
      transpose<kernels::NumberFormat::F32>(p, first, rows, to);
      break;
    case kernels::NumberFormat::BF16:
      transpose<kernels::NumberFormat::BF16>(p, first, rows, to);
      break;
    case kernels::NumberFormat::F16:
      transpose<kernels::NumberFormat::F16>(p, first, rows, to);
      break;
  }
  for (const int64_t i : p.dead) std::fill_n(to + i * kPanel, kPanel, 0.0f);
  std::fill(to + p.columns * kPanel, to + p.padded * kPanel, 0.0f);
}

void load_parameters(const Problem& p, int64_t first, int64_t rows, Panel& panel) {
  float* scale = panel.scale.mutable_data_ptr<float>();
  float* inverse = panel.inverse_scale.mutable_data_ptr<float>();
  float* zero = panel.zero.mutable_data_ptr<float>();
  for (int64_t g = 0; g < p.groups; ++g) {
    for (int64_t lane = 0; lane < kPanel; ++lane) {
      const int64_t from = (first + std::min(lane, rows - 1)) / p.scale_rows * p.groups + g;
      scale[g * kPanel + lane] = p.scale[from];
      inverse[g * kPanel + lane] = 1.0f / p.scale[from];
      zero[g * kPanel + lane] = p.zero == nullptr ? 0.0f : p.zero[from];
    }
  }
}

void store_codes(const Problem& p, int64_t first, int64_t rows, const uint8_t* from, uint8_t* codes) {
  const int64_t* order = p.order.data();
  for (int64_t i0 = 0; i0 < p.columns; i0 += kTransposedColumns) {
    const int64_t end = std::min(i0 + kTransposedColumns, p.columns);
    for (int64_t lane = 0; lane < rows; ++lane) {
      uint8_t* row = codes + (first + lane) * p.columns;
      for (int64_t i = i0; i < end; ++i) row[order[i]] = from[i * kPanel + lane];
    }
  }
}

// 1 where the panel's weight is not 0; null if zeros need not be kept.
const float* load_mask(Panel& panel) {
  if (!panel.keep.defined()) return nullptr;
  const float* weight = panel.weight_error.const_data_ptr<float>();
  float* keep = panel.keep.mutable_data_ptr<float>();
  for (int64_t i = 0; i < panel.keep.numel(); ++i) keep[i] = weight[i] == 0 ? 0.0f : 1.0f;
  return keep;
}

}  // namespace

GptqResult gptq_solve(const at::Tensor& w_OI, const GptqFactor& factor, const Grid& grid, bool keep_zeros) {
  check(w_OI, factor);
  const at::Tensor weight_OI = w_OI.contiguous();
  const Problem p = make_problem(weight_OI, factor, grid);
  GptqResult result{at::empty({p.rows, p.columns}, code_dtype_of(grid.spec)), 0};
  uint8_t* codes = static_cast<uint8_t*>(result.codes_OI.mutable_data_ptr());
  std::vector<double> loss(static_cast<size_t>(p.rows));
  const auto run = [&](int64_t task, Panel& panel) {
    const int64_t first = task * kPanel, rows = std::min(kPanel, p.rows - first);
    load_weight(p, first, rows, panel.weight_error.mutable_data_ptr<float>());
    load_parameters(p, first, rows, panel);
    kernels::fast_kernels().gptq_panel(
        {p.padded, panel.weight_error.mutable_data_ptr<float>(), p.m.const_data_ptr<float>(), p.d.data(),
         p.group.data(), panel.scale.const_data_ptr<float>(), panel.inverse_scale.const_data_ptr<float>(),
         panel.zero.const_data_ptr<float>(), p.range, panel.codes.mutable_data_ptr<uint8_t>(), panel.loss,
         load_mask(panel)});
    store_codes(p, first, rows, panel.codes.const_data_ptr<uint8_t>(), codes);
    std::copy(panel.loss, panel.loss + rows, loss.begin() + first);
  };
  ops::parallel_tasks((p.rows + kPanel - 1) / kPanel, [&] { return make_panel(p, keep_zeros); }, run);
  for (const double row_loss : loss) result.loss += row_loss;
  return result;
}

}  // namespace swage::solvers
