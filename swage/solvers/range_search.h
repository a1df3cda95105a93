// How far to shrink or widen the range of each group's values before a scale is made of it: what MSE observers ask.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "swage/solvers/grid.h"

namespace swage::solvers {

struct FactorSearch {
  std::vector<float> factors;  // of the range, in the order tried; of equally good ones the first wins
  double norm = 2.4;           // error: sum |w - q|^norm
  int64_t patience = 0;        // ends after so many factors in a row that improve no group at all; 0: tries all
  at::Tensor importance_I;     // f32 [I]: factors of the columns' errors; undefined: 1
};

// For each group of w_OI (f32, bf16 or f16 [O, I], CPU) the factor of its range (0 put inside) whose absmax scale errs
// least, f32 of the scales' shape. Errors are summed in f32 for a group of one row, in f64 between parts of larger
// ones; the result does not depend on threads. spec.scale_dtype must not be float8_e4m3fn: a global scale follows from
// the ranges.
at::Tensor best_range_factors(const at::Tensor& w_OI, const GridSpec& spec, const FactorSearch& search);

// Smallest and largest value of each group (of edge blocks: of what is there), f32 of the scales' shape.
// Error(Numerical) for a NaN or Inf.
struct GroupRanges {
  at::Tensor low, high;
};
GroupRanges ranges_of_groups(const at::Tensor& w_OI, const GridSpec& spec);

}  // namespace swage::solvers
