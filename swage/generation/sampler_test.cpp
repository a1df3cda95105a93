#include "swage/generation/sampler.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

namespace swage::generation {
namespace {

TEST(Sampler, GreedyTakesTheMostLikelyAndTheLowerIdOnTies) {
  UniformStream uniform(1);
  EXPECT_EQ(sample(at::tensor({0.5f, 2.0f, 2.0f, -1.0f}), {}, uniform), 1);
}

// 20000 draws: a frequency lies within 4 standard deviations, 4*sqrt(p(1-p)/n) < 0.0142, of its probability.
TEST(Sampler, TemperatureSamplesTheSoftmax) {
  const std::array<double, 3> p = {0.6, 0.3, 0.1};
  const auto logits = at::tensor({std::log(0.6f), std::log(0.3f), std::log(0.1f)});
  std::array<int, 3> seen = {};
  UniformStream uniform(7);
  for (int i = 0; i < 20000; ++i) ++seen[size_t(sample(logits, {.temperature = 1, .top_p = 1}, uniform))];
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(seen[i] / 20000.0, p[i], 0.0142);
}

TEST(Sampler, TopPKeepsTheSmallestSufficientSet) {
  const auto logits = at::tensor({std::log(0.6f), std::log(0.3f), std::log(0.1f)});
  UniformStream uniform(7);
  for (int i = 0; i < 2000; ++i) EXPECT_NE(sample(logits, {.temperature = 1, .top_p = 0.85}, uniform), 2);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(sample(logits, {.temperature = 1, .top_p = 0.1}, uniform), 0);
}

TEST(Sampler, SameSeedSameTokens) {
  const auto logits = at::randn({50});
  UniformStream a(3), b(3);
  for (int i = 0; i < 100; ++i)
    EXPECT_EQ(sample(logits, {.temperature = 1.3, .top_p = 0.9}, a),
              sample(logits, {.temperature = 1.3, .top_p = 0.9}, b));
}

}  // namespace
}  // namespace swage::generation
