#include "swage/solvers/upper_cholesky.h"

#include <cmath>

namespace swage::solvers {

using kernels::kPanel;

namespace {

constexpr int64_t kParallelDepth =
    4000;  // rows gathered by all tiles of a step: 4608 flops each, together a third of a millisecond

}  // namespace

UpperCholesky::UpperCholesky(int64_t columns)
    : columns_(columns),
      panels_((columns + kPanel - 1) / kPanel),
      panel_doubles_(panels_ * kPanel * kPanel),
      data_(at::empty({panels_ * panel_doubles_}, at::kDouble)),
      first_(data_.mutable_data_ptr<double>()) {}

// Tile p on the diagonal, already updated, becomes its own factor; zeros below. False if a pivot is not above `least`.
bool UpperCholesky::factor_diagonal(int64_t p, const std::vector<double>& least) {
  double* tile = panel(p) + p * kPanel * kPanel;
  for (int64_t k = 0; k < kPanel; ++k) {
    double* row = tile + k * kPanel;
    if (!(row[k] > least[static_cast<size_t>(p * kPanel + k)])) return false;
    row[k] = std::sqrt(row[k]);
    const double inverse = 1 / row[k];
    for (int64_t c = k + 1; c < kPanel; ++c) row[c] *= inverse;
    for (int64_t r = k + 1; r < kPanel; ++r) {
      for (int64_t c = r; c < kPanel; ++c) tile[r * kPanel + c] -= row[r] * row[c];
      tile[r * kPanel + k] = 0;
    }
  }
  return true;
}

void UpperCholesky::factor() {
  // What rounding errors alone may leave of a pivot: the matrix is not positive definite to working precision.
  std::vector<double> least(static_cast<size_t>(panels_ * kPanel));
  for (int64_t i = 0; i < panels_ * kPanel; ++i)
    least[static_cast<size_t>(i)] = std::fabs(at(i, i)) * static_cast<double>(columns_) * 0x1p-52;
  const auto& kernel = kernels::fast_kernels().cholesky_tile;
  for (int64_t p = 0; p < panels_; ++p) {
    const int64_t depth = p * kPanel;
    double* diagonal = panel(p) + depth * kPanel;
    kernel({panel(p), panel(p), depth, nullptr, diagonal});
    if (!factor_diagonal(p, least)) return;
    ops::parallel_tasks(
        panels_ - p - 1, [] { return 0; },
        [&](int64_t task, int) {
          double* right = panel(p + 1 + task);
          kernel({panel(p), right, depth, diagonal, right + depth * kPanel});
        },
        (panels_ - p - 1) * (depth + kPanel) >= kParallelDepth);
  }
  ok_ = true;
}

}  // namespace swage::solvers
