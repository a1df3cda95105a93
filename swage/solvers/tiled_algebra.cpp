#include "swage/solvers/tiled_algebra.h"
#include "swage/ops/device.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>

#include "swage/base/error.h"
#include "swage/ops/parallel_tasks.h"

namespace swage::solvers {
namespace {

using kernels::kPanel;

constexpr int64_t kTile = kPanel * kPanel;

int64_t panels_of(int64_t n) { return (n + kPanel - 1) / kPanel; }

bool is_matrix(const at::Tensor& x) {
  return x.dim() == 2 && x.scalar_type() == at::kDouble && x.is_contiguous() && ops::on_host(x);
}

// Rows `first` and following of a_MK, at most a panel of them, side by side: to[k][row], zeros beyond the last row.
void load_rows(const at::Tensor& a_MK, int64_t first, double factor, double* to) {
  const int64_t columns = a_MK.size(1), rows = std::min(kPanel, a_MK.size(0) - first);
  const double* from = a_MK.const_data_ptr<double>() + first * columns;
  for (int64_t k = 0; k < columns; ++k) {
    for (int64_t r = 0; r < kPanel; ++r) to[k * kPanel + r] = r < rows ? factor * from[r * columns + k] : 0.0;
  }
}

// The same of columns: to[k][column].
void load_columns(const at::Tensor& b_KN, int64_t first, double* to) {
  const int64_t stride = b_KN.size(1), count = std::min(kPanel, stride - first);
  const double* from = b_KN.const_data_ptr<double>() + first;
  for (int64_t k = 0; k < b_KN.size(0); ++k, from += stride, to += kPanel) {
    std::copy_n(from, count, to);
    std::fill(to + count, to + kPanel, 0.0);
  }
}

// A tile of out_MN, zeros beyond its edges; and back.
void load_tile(const at::Tensor& out_MN, int64_t row, int64_t column, double* tile) {
  const int64_t stride = out_MN.size(1), rows = std::min(kPanel, out_MN.size(0) - row),
                columns = std::min(kPanel, stride - column);
  const double* from = out_MN.const_data_ptr<double>() + row * stride + column;
  std::fill(tile, tile + kTile, 0.0);
  for (int64_t r = 0; r < rows; ++r) std::copy_n(from + r * stride, columns, tile + r * kPanel);
}

void store_tile(const double* tile, int64_t row, int64_t column, double* out, int64_t all_rows, int64_t stride) {
  const int64_t rows = std::min(kPanel, all_rows - row), columns = std::min(kPanel, stride - column);
  for (int64_t r = 0; r < rows; ++r) std::copy_n(tile + r * kPanel, columns, out + (row + r) * stride + column);
}

// J U^T J: element (i, j) is U's (last - j, last - i). Whole panels, what fills up the last one included.
UpperCholesky turned_back(const UpperCholesky& u) {
  const int64_t size = u.panels() * kPanel;
  UpperCholesky out(size);
  ops::parallel_tasks(
      out.panels(), [] { return 0; },
      [&](int64_t p, int) {
        for (int64_t j = p * kPanel; j < (p + 1) * kPanel; ++j) {
          double* to = out.panel(p) + j % kPanel;
          for (int64_t i = 0; i < (p + 1) * kPanel; ++i)
            to[i * kPanel] = i <= j ? u.at(size - 1 - j, size - 1 - i) : 0.0;
        }
      });
  return out;
}

// y = U^-T y for kPanel columns side by side, [rows of U, kPanel].
void go_forward(const UpperCholesky& u, double* y) {
  for (int64_t p = 0; p < u.panels(); ++p) {
    const int64_t depth = p * kPanel;
    kernels::fast_kernels().cholesky_tile({u.panel(p), y, depth, u.panel(p) + depth * kPanel, y + depth * kPanel});
  }
}

}  // namespace

void add_product(const at::Tensor& a_MK, const at::Tensor& b_KN, double factor, at::Tensor& out_MN) {
  const int64_t m = out_MN.size(0), n = out_MN.size(1), k = b_KN.size(0);
  SWAGE_CHECK(is_matrix(a_MK) && is_matrix(b_KN) && is_matrix(out_MN) && a_MK.size(0) == m && a_MK.size(1) == k &&
                  b_KN.size(1) == n,
              InvalidArgument, "add_product: ", a_MK.sizes(), " times ", b_KN.sizes(), " to ", out_MN.sizes(),
              ": expected f64 matrices that fit");
  if (m == 0 || n == 0 || k == 0) return;
  const at::Tensor packed = at::empty({panels_of(m) * k * kPanel}, at::kDouble);
  double* a = packed.mutable_data_ptr<double>();
  ops::parallel_tasks(
      panels_of(m), [] { return 0; },
      [&](int64_t p, int) { load_rows(a_MK, p * kPanel, -factor, a + p * k * kPanel); });  // the kernel subtracts
  double* out = out_MN.mutable_data_ptr<double>();
  const auto make_scratch = [&] { return at::empty({k * kPanel + kTile}, at::kDouble); };
  ops::parallel_tasks(panels_of(n), make_scratch, [&](int64_t column, at::Tensor& scratch) {
    double *b = scratch.mutable_data_ptr<double>(), *tile = b + k * kPanel;
    load_columns(b_KN, column * kPanel, b);
    for (int64_t row = 0; row < panels_of(m); ++row) {
      load_tile(out_MN, row * kPanel, column * kPanel, tile);
      kernels::fast_kernels().cholesky_tile({a + row * k * kPanel, b, k, nullptr, tile});
      store_tile(tile, row * kPanel, column * kPanel, out, m, n);
    }
  });
}

FactoredSolver::FactoredSolver(UpperCholesky u) : u_(std::move(u)), back_(turned_back(u_)) {
  SWAGE_CHECK(u_.ok(), Internal, "FactoredSolver: the matrix has no factor");
}

at::Tensor FactoredSolver::solve(const at::Tensor& d_OI) const {
  const int64_t columns = u_.columns(), size = u_.panels() * kPanel;
  SWAGE_CHECK(is_matrix(d_OI) && d_OI.size(1) == columns, InvalidArgument, "FactoredSolver: ", d_OI.sizes(), " for ",
              columns, " columns");
  at::Tensor out_OI = at::empty_like(d_OI);
  double* out = out_OI.mutable_data_ptr<double>();
  ops::parallel_tasks(
      panels_of(d_OI.size(0)), [&] { return at::empty({size * kPanel}, at::kDouble); },
      [&](int64_t panel, at::Tensor& scratch) {
        double* y = scratch.mutable_data_ptr<double>();
        load_rows(d_OI, panel * kPanel, 1, y);
        std::fill(y + columns * kPanel, y + size * kPanel, 0.0);
        const auto reverse = [&] {
          for (int64_t k = 0; k < size / 2; ++k)
            std::swap_ranges(y + k * kPanel, y + (k + 1) * kPanel, y + (size - 1 - k) * kPanel);
        };
        go_forward(u_, y);
        reverse();
        go_forward(back_, y);
        reverse();
        const int64_t rows = std::min(kPanel, d_OI.size(0) - panel * kPanel);
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t k = 0; k < columns; ++k) out[(panel * kPanel + r) * columns + k] = y[k * kPanel + r];
        }
      });
  return out_OI;
}

}  // namespace swage::solvers
