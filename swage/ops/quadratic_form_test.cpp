#include "swage/ops/quadratic_form.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

namespace swage::ops {
namespace {

TEST(QuadraticForm, IsThatOfTheWholeMatrix) {
  at::manual_seed(4);
  for (const int64_t columns : {1, 96, 129, 300, 1100}) {  // one block, blocks of 128, blocks of an eighth
    const at::Tensor a_OI = at::randn({7, columns}), x_TI = at::randn({2 * columns, columns}),
                     gram_II = at::mm(x_TI.t(), x_TI);
    const double want = at::mm(a_OI.to(at::kDouble), gram_II.to(at::kDouble)).mul_(a_OI).sum().item<double>();
    // tr(A H A^T) = ||A X^T||^2; products of f32 in sums of `columns` terms: each is off by columns 2^-24 |a| |H| |a|
    // at most, in fact by its root
    const double whole = at::mm(a_OI.abs(), gram_II.abs()).mul_(a_OI.abs()).sum(at::kDouble).item<double>();
    EXPECT_NEAR(quadratic_form(a_OI, gram_II), want, std::sqrt(double(columns)) * 0x1p-24 * whole) << columns;
  }
}

}  // namespace
}  // namespace swage::ops
