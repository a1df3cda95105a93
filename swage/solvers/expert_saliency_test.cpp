#include "swage/solvers/expert_saliency.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "swage/base/error.h"

namespace swage::solvers {
namespace {

// Token by token in f64: only the norm's square root and the order of the sum differ, 40 roundings of 2^-53 each.
TEST(ExpertSaliency, SumIsThatOfGatesTimesNorms) {
  at::manual_seed(3);
  const at::Tensor gate_T = at::rand({40, 1}), output_TD = at::randn({40, 17});
  double expected = 0;
  for (int64_t t = 0; t < 40; ++t) {
    double square = 0;
    for (int64_t d = 0; d < 17; ++d) square += std::pow(double(output_TD[t][d].item<float>()), 2);
    expected += double(gate_T[t][0].item<float>()) * std::sqrt(square);
  }
  EXPECT_NEAR(weighted_norm_sum(gate_T, output_TD), expected, expected * 40 * 0x1p-52);
  EXPECT_EQ(weighted_norm_sum(gate_T.narrow(0, 0, 0), output_TD.narrow(0, 0, 0)), 0);
  EXPECT_THROW(weighted_norm_sum(gate_T, output_TD.narrow(0, 0, 39)), Error);
}

TEST(ExpertSaliency, MeansAreOverRoutedTokensAndZeroWithoutAny) {
  EXPECT_EQ(mean_saliency({6, 0, 5}, {4, 0, 2}), (std::vector<double>{1.5, 0, 2.5}));
  EXPECT_THROW(mean_saliency({1, 2}, {1}), Error);
}

TEST(ExpertSaliency, LeastGoAndOfEqualsTheFirst) {
  EXPECT_EQ(most_salient({3, 1, 2, 0.5, 4}, 2), (std::vector<int64_t>{0, 2, 4}));
  EXPECT_EQ(most_salient({0, 2, 0, 1, 0}, 2), (std::vector<int64_t>{1, 3, 4}));
  EXPECT_EQ(most_salient({1, 2}, 0), (std::vector<int64_t>{0, 1}));
  EXPECT_THROW(most_salient({1, 2}, 2), Error);
  EXPECT_THROW(most_salient({1, 2}, -1), Error);
}

}  // namespace
}  // namespace swage::solvers
