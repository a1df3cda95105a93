// Cholesky factorization H = U^T U in f64 whose result does not depend on the number of threads (LAPACK's does).
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

#include "swage/kernels/kernels.h"
#include "swage/ops/parallel_tasks.h"

namespace swage::solvers {

// Columns above which copying an n x n matrix is worth two threads.
inline constexpr int64_t kParallelCopy = 1024;

// U in panels of kPanel columns, rows of a panel one after the other: where the kernel wants it.
class UpperCholesky {
 public:
  explicit UpperCholesky(int64_t columns);
  int64_t columns() const { return columns_; }
  // Whether the matrix was positive definite: every pivot above its rounding errors.
  bool ok() const { return ok_; }
  // Element of U, row <= column; meaningful if ok().
  double at(int64_t row, int64_t column) const {
    return panel(column / kernels::kPanel)[row * kernels::kPanel + column % kernels::kPanel];
  }

  // Rows 0 .. kPanel*(p+1)-1 of panel p, each [kPanel].
  double* panel(int64_t p) { return first_ + p * panel_doubles_; }
  const double* panel(int64_t p) const { return first_ + p * panel_doubles_; }
  int64_t panels() const { return panels_; }
  // Factors what the panels hold: the upper triangle of H, identity in the columns beyond the last.
  void factor();

 private:
  bool factor_diagonal(int64_t p, const std::vector<double>& least);

  int64_t columns_, panels_, panel_doubles_;
  at::Tensor data_;
  double* first_;  // of data_
  bool ok_ = false;
};

// Factors the n x n matrix with elements element(row, column), which is asked for row <= column and a little beyond.
template <class Element>
UpperCholesky upper_cholesky(int64_t n, const Element& element) {
  using kernels::kPanel;
  UpperCholesky u(n);
  ops::parallel_tasks(
      u.panels(), [] { return 0; },
      [&](int64_t block, int) {
        for (int64_t row = block * kPanel; row < (block + 1) * kPanel; ++row) {  // a row of H is read at one go
          for (int64_t p = block; p < u.panels(); ++p) {
            double* to = u.panel(p) + row * kPanel;
            for (int64_t column = p * kPanel; column < (p + 1) * kPanel; ++column) {
              *to++ = row < n && column < n ? element(row, column) : row == column ? 1.0 : 0.0;
            }
          }
        }
      },
      n >= kParallelCopy);
  u.factor();
  return u;
}

}  // namespace swage::solvers
