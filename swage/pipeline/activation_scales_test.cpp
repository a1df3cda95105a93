// Scales of activations by the formulas of compressed-tensors, worked out by hand.
#include "swage/pipeline/activation_scales.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"

namespace swage::pipeline {
namespace {

using scheme::Dynamic, scheme::NumberType, scheme::QuantizationArgs, scheme::Strategy;

QuantizationArgs static_tensor(NumberType type, bool symmetric) {
  QuantizationArgs args;
  args.type = type;
  args.symmetric = symmetric;
  return args;
}

TEST(InputQuantization, SymmetricScalesAreRoundedToTheStoredType) {
  const auto fp8 = input_quantization(static_tensor(NumberType::Float, true), {-3.0, 2.0}, at::kFloat);
  EXPECT_FLOAT_EQ(fp8.scale.item<float>(), 3.0f / 448);
  EXPECT_FALSE(fp8.zero_point.defined());
  const auto int8 = input_quantization(static_tensor(NumberType::Int, true), {-3.0, 2.0}, at::kBFloat16);
  EXPECT_EQ(int8.scale.item<float>(), at::tensor(3.0f / 127.5f).to(at::kBFloat16).to(at::kFloat).item<float>());
}

TEST(InputQuantization, AsymmetricRangesGetAZeroPoint) {
  const auto out = input_quantization(static_tensor(NumberType::Int, false), {-1.0, 1.55}, at::kFloat);
  EXPECT_FLOAT_EQ(out.scale.item<float>(), 0.01f);
  EXPECT_EQ(out.zero_point.item<float>(), -28);  // round(-128 + 100)
}

TEST(InputQuantization, AGlobalScaleFillsE4M3TimesE2M1) {
  QuantizationArgs args = static_tensor(NumberType::Float, true);
  args.num_bits = 4;
  args.strategy = Strategy::TensorGroup;
  args.group_size = 16;
  args.dynamic = Dynamic::Local;
  EXPECT_TRUE(needs_range(args));
  EXPECT_EQ(input_quantization(args, {-1.5, 0.5}, at::kBFloat16).global_scale.item<float>(), 1792);
  EXPECT_EQ(input_quantization(args, {0, 0}, at::kBFloat16).global_scale.item<float>(), 1);
  ASSERT_EQ(input_specs(args, io::Dtype::BF16).size(), 1u);
  EXPECT_EQ(input_specs(args, io::Dtype::BF16)[0].dtype, io::Dtype::F32);
}

TEST(InputQuantization, AnInputOfZerosGetsTheEpsilonOfItsType) {
  EXPECT_EQ(input_quantization(static_tensor(NumberType::Int, true), {0, 0}, at::kBFloat16).scale.item<float>(), 0x1p-7f);
}

TEST(InputQuantization, DynamicInputsStoreNothing) {
  QuantizationArgs args = static_tensor(NumberType::Int, true);
  args.strategy = Strategy::Token;
  args.dynamic = Dynamic::Yes;
  EXPECT_FALSE(needs_range(args));
  EXPECT_TRUE(input_specs(args, io::Dtype::BF16).empty());
}

TEST(InputRange, CoversEveryFlowAndZero) {
  std::vector<model::Flow> flows(3);
  for (int i = 0; i < 3; ++i) flows[size_t(i)].input_TI = at::full({2, 4}, i + 1.0f);
  flows[1].input_TI[1][2] = -7;
  const Range range = input_range(flows, -1);
  EXPECT_EQ(range.low, -7);
  EXPECT_EQ(range.high, 3);
  flows[2].input_TI = at::full({2, 4}, 5.0f);
  flows[1].input_TI = flows[0].input_TI;
  EXPECT_EQ(input_range(flows, -1).low, 0);
  flows[0].input_TI[0][0] = NAN;
  EXPECT_THROW(input_range(flows, -1), Error);
}

TEST(CacheSpecs, OneScaleOrOneAHead) {
  QuantizationArgs args = static_tensor(NumberType::Float, true);
  EXPECT_EQ(cache_specs(args, 3, io::Dtype::BF16)[0].shape, std::vector<int64_t>{1});
  args.strategy = Strategy::AttnHead;
  EXPECT_EQ(cache_specs(args, 3, io::Dtype::BF16)[1].shape, (std::vector<int64_t>{3, 1, 1}));
}

}  // namespace
}  // namespace swage::pipeline
