#include "swage/model/rope.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>

namespace swage::model {
namespace {

void expect_rows(const RopeTable& table, int64_t position, int64_t count, const std::vector<float>& frequencies) {
  ASSERT_EQ(table.cos_TF.sizes(), at::IntArrayRef({count, static_cast<int64_t>(frequencies.size())}));
  for (int64_t t = 0; t < count; ++t) {
    for (size_t i = 0; i < frequencies.size(); ++i) {
      const float angle = static_cast<float>(position + t) * frequencies[i];
      EXPECT_NEAR(table.cos_TF[t][i].item<float>(), std::cos(angle), 1e-6);
      EXPECT_NEAR(table.sin_TF[t][i].item<float>(), std::sin(angle), 1e-6);
    }
  }
}

TEST(Rope, TablesGrowAndKeepTheirValues) {
  const RopeSpec description{.size = 4};
  const Rope rope(description, at::kCPU);
  const auto frequencies = inverse_frequencies(description, 1);
  EXPECT_FLOAT_EQ(frequencies[0], 1);
  EXPECT_FLOAT_EQ(frequencies[1], 0.01f);
  const RopeTable early = rope.table(0, 3);
  expect_rows(rope.table(300, 2), 300, 2, frequencies);
  expect_rows(rope.table(5000, 1), 5000, 1, frequencies);
  expect_rows(early, 0, 3, frequencies);  // still whole after the table was replaced
}

TEST(Rope, DynamicBaseBelongsToTheLength) {
  const RopeSpec description{.kind = RopeKind::Dynamic, .size = 8, .factor = 4, .max_positions = 16};
  const Rope rope(description, at::kCPU);
  EXPECT_EQ(inverse_frequencies(description, 10), inverse_frequencies(description, 16));
  EXPECT_NE(inverse_frequencies(description, 17), inverse_frequencies(description, 16));
  for (const int64_t length : {40, 10, 16, 17, 40, 12, 30}) {
    expect_rows(rope.table(length - 2, 2), length - 2, 2, inverse_frequencies(description, length));
  }
}

TEST(Rope, YarnAttentionFactor) {
  EXPECT_DOUBLE_EQ(yarn_attention_factor(4, 0, 0), 0.1 * std::log(4) + 1);
  EXPECT_DOUBLE_EQ(yarn_attention_factor(0.5, 0, 0), 1);
  EXPECT_DOUBLE_EQ(yarn_attention_factor(40, 0.707, 0.707), 1);
  EXPECT_DOUBLE_EQ(yarn_attention_factor(4, 1, 0.5), (0.1 * std::log(4) + 1) / (0.05 * std::log(4) + 1));
}

TEST(Rope, ManyThreadsMayAsk) {
  const RopeSpec description{.size = 4};
  const Rope rope(description, at::kCPU);
  at::parallel_for(0, 64, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const RopeTable table = rope.table(i * 37, 1);
      const float expected = std::cos(static_cast<float>(i * 37));
      EXPECT_NEAR(table.cos_TF.const_data_ptr<float>()[0], expected, 1e-6);
    }
  });
}

// The loop for the CPU against tensor operations.
TEST(Rotate, PathsAgree) {
  at::manual_seed(4);
  const Rope rope({.size = 16}, at::kCPU);
  at::Tensor fast_THE = at::randn({5, 2, 16});
  at::Tensor plain_THE = at::cat({fast_THE, fast_THE}, 1).narrow(1, 0, 2);  // not contiguous
  rope.rotate_(fast_THE, 3);
  rope.rotate_(plain_THE, 3);
  EXPECT_TRUE(at::allclose(fast_THE, plain_THE, 1e-6, 1e-6));
}

}  // namespace
}  // namespace swage::model
