// Products and solutions of linear equations in f64, in the tiles of the Cholesky factorization: sums of fixed order,
// whatever the number of threads (the math library's are not: with another number it may divide a product otherwise,
// also for one thread that belongs to several).
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/solvers/upper_cholesky.h"

namespace swage::solvers {

// out_MN += factor * a_MK b_KN. All f64, contiguous, on the CPU; `factor` is 1 or -1.
void add_product(const at::Tensor& a_MK, const at::Tensor& b_KN, double factor, at::Tensor& out_MN);

// Solves X U^T U = D for rows D.
class FactoredSolver {
 public:
  // Of a factor that is ok().
  explicit FactoredSolver(UpperCholesky u);
  // f64 [O, I] -> f64 [O, I].
  at::Tensor solve(const at::Tensor& d_OI) const;

 private:
  UpperCholesky u_,
      back_;  // back_ is J U^T J with J the reversal: upper triangular as well, so that going back through U is going
              // forward through it
};

}  // namespace swage::solvers
