// For tests only: how far a result is from what it should be.
#pragma once
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

namespace swage::ops {

// The largest difference as a share of the largest value.
inline double relative_error(const at::Tensor& out, const at::Tensor& expected) {
  EXPECT_EQ(out.sizes(), expected.sizes());
  if (out.sizes() != expected.sizes()) return INFINITY;
  const at::Tensor wide = expected.to(at::kDouble);
  return ((out.to(at::kDouble) - wide).abs().max() / wide.abs().max()).item<double>();
}

}  // namespace swage::ops
