#include "swage/resolve/rescaling.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace swage::pipeline {
namespace {

TEST(Rescaling, ADividedNormAndItsScalesGiveTheOldWeightExactly) {
  at::manual_seed(1);
  const at::Tensor w_I = at::randn({1000}).to(at::kBFloat16).to(at::kFloat);
  w_I[7] = 0;
  at::Tensor s_I = at::exp(at::randn({1000}));
  const at::Tensor asked_I = s_I.clone(), stored_I = divide_norm(w_I, at::kBFloat16, s_I);
  EXPECT_EQ(stored_I.scalar_type(), at::kBFloat16);
  // One f32 rounding of the quotient, one of the product: 2^-23 of the value.
  EXPECT_LE(
      (stored_I.to(at::kDouble) * s_I.to(at::kDouble) - w_I).abs().div(w_I.abs().clamp_min(1e-30)).max().item<double>(),
      0x1p-23);
  EXPECT_LE((s_I / asked_I - 1).abs().max().item<double>(),
            0x1p-8 * 1.01);  // bf16 rounds by at most 2^-9 of the next power of two
  EXPECT_EQ(s_I[7].item<float>(), asked_I[7].item<float>());
}

TEST(Rescaling, AProducerGetsOneScaleForAllColumnsThatReadIt) {
  model::SmoothingPair pair;
  pair.run = 2;
  pair.repeats = 3;
  const at::Tensor s_I = at::tensor({1.0f, 2.0f, 1.0f, 2.0f, 1.0f, 2.0f, 5.0f, 6.0f, 5.0f, 6.0f, 5.0f, 6.0f});
  EXPECT_TRUE(scales_of_producer(s_I, pair).equal(at::tensor({1.0f, 2.0f, 5.0f, 6.0f})));
}

}  // namespace
}  // namespace swage::pipeline
