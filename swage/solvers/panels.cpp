#include "swage/solvers/panels.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "swage/ops/parallel_tasks.h"
#include "swage/solvers/upper_cholesky.h"

namespace swage::solvers {

using kernels::kColumnGroup;
using kernels::kPanel;

at::Tensor packed_factor(const at::Tensor& m_II, int64_t padded) {
  const int64_t n = m_II.size(0), column_groups = padded / kColumnGroup;
  at::Tensor packed = at::empty({kernels::gptq_m_offset(column_groups)}, at::kFloat);
  const float* m = m_II.const_data_ptr<float>();
  float* to = packed.mutable_data_ptr<float>();
  ops::parallel_tasks(
      column_groups, [] { return 0; },
      [&](int64_t g, int) {
        float* out = to + kernels::gptq_m_offset(g);
        for (int64_t k = 0; k < kColumnGroup * (g + 1); ++k) {
          for (int64_t c = 0; c < kColumnGroup; ++c) {
            const int64_t column = g * kColumnGroup + c;
            out[k * kColumnGroup + c] = k < n && column < n ? m[k * n + column] : 0.0f;
          }
        }
      },
      n >= kParallelCopy);
  return packed;
}

void load_panel(const float* rows, int64_t stride, int64_t lanes, int64_t columns, float* panel) {
  for (int64_t first = 0; first < columns; first += kTransposedColumns) {
    const int64_t end = std::min(first + kTransposedColumns, columns);
    for (int64_t lane = 0; lane < kPanel; ++lane) {
      const float* row = rows + std::min(lane, lanes - 1) * stride;
      for (int64_t i = first; i < end; ++i) panel[i * kPanel + lane] = row[i];
    }
  }
}

void store_panel(const float* panel, int64_t lanes, int64_t columns, int64_t stride, float* rows) {
  for (int64_t first = 0; first < columns; first += kTransposedColumns) {
    const int64_t end = std::min(first + kTransposedColumns, columns);
    for (int64_t lane = 0; lane < lanes; ++lane) {
      for (int64_t i = first; i < end; ++i) rows[lane * stride + i] = panel[i * kPanel + lane];
    }
  }
}

}  // namespace swage::solvers
