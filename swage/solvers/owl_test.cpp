#include "swage/solvers/owl.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"

namespace swage::solvers {
namespace {

TEST(Owl, CountsWhatExceedsAMultipleOfTheLayersMean) {
  const at::Tensor w_OI = at::tensor({1.0f, -1.0f, 1.0f, -20.0f}).view({2, 2}),
                   v_OI = at::tensor({2.0f, 0.0f}).view({1, 2});
  // |w| * norm: 1 2 1 40 and 2 0, mean 46 / 6 = 7.67
  const std::vector<OwlLinear> layer{{w_OI, at::tensor({1.0f, 2.0f})}, {v_OI, at::tensor({1.0f, 2.0f})}};
  EXPECT_DOUBLE_EQ(outlier_percent(layer, 5), 100.0 / 6);    // 40 > 38.3
  EXPECT_DOUBLE_EQ(outlier_percent(layer, 5.3), 0);          // 40 < 40.6
  EXPECT_DOUBLE_EQ(outlier_percent(layer, 0.2), 300.0 / 6);  // 2, 40 and 2 > 1.53
}

TEST(Owl, SharesLieAroundTheSparsity) {
  const std::vector<double> shares = owl_shares({1, 2, 5}, 0.6, 0.08);
  // Stretched: 0, 0.04, 0.16, mean 0.2 / 3.
  EXPECT_NEAR(shares[0], 0.6 + 0.2 / 3, 1e-12);
  EXPECT_NEAR(shares[1], 0.6 + 0.2 / 3 - 0.04, 1e-12);
  EXPECT_NEAR(shares[2], 0.6 + 0.2 / 3 - 0.16, 1e-12);
  EXPECT_EQ(owl_shares({3, 3}, 0.5, 0.1), (std::vector<double>{0.5, 0.5}));
  EXPECT_THROW(owl_shares({0, 1}, 0.95, 0.1), Error);
  EXPECT_THROW(owl_shares({}, 0.95, 0.1), Error);
}

}  // namespace
}  // namespace swage::solvers
