// Scales of activations by the formulas of compressed-tensors, worked out by hand; the observers themselves are tested
// in observers/.
#include "swage/resolve/activation_scales.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <utility>
#include <vector>

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

// After one batch of these values.
model::ActivationQuantization quantization_of(const QuantizationArgs& args, std::vector<float> values,
                                              at::ScalarType stored) {
  values.resize(16);
  std::vector<model::Flow> flows(1);
  flows[0].input_TI = at::tensor(values).view({1, 16});
  return input_quantization(args, observe_inputs(args, flows, -1).get(), stored);
}

TEST(InputQuantization, SymmetricScalesAreRoundedToTheStoredType) {
  const auto fp8 = quantization_of(static_tensor(NumberType::Float, true), {-3.0, 2.0}, at::kFloat);
  EXPECT_FLOAT_EQ(fp8.scale.item<float>(), 3.0f / 448);
  EXPECT_FALSE(fp8.zero_point.defined());
  const auto int8 = quantization_of(static_tensor(NumberType::Int, true), {-3.0, 2.0}, at::kBFloat16);
  EXPECT_EQ(int8.scale.item<float>(), at::tensor(3.0f / 127.5f).to(at::kBFloat16).to(at::kFloat).item<float>());
}

TEST(InputQuantization, AsymmetricRangesGetAZeroPoint) {
  const auto out = quantization_of(static_tensor(NumberType::Int, false), {-1.0, 1.55}, at::kFloat);
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
  EXPECT_EQ(quantization_of(args, {-1.5, 0.5}, at::kBFloat16).global_scale.item<float>(), 1792);
  EXPECT_EQ(quantization_of(args, {0, 0}, at::kBFloat16).global_scale.item<float>(), 1);
  ASSERT_EQ(input_specs(args, io::Dtype::BF16).size(), 1u);
  EXPECT_EQ(input_specs(args, io::Dtype::BF16)[0].dtype, io::Dtype::F32);
}

TEST(InputQuantization, AnInputOfZerosGetsTheEpsilonOfItsType) {
  EXPECT_EQ(quantization_of(static_tensor(NumberType::Int, true), {0, 0}, at::kBFloat16).scale.item<float>(), 0x1p-7f);
}

TEST(InputQuantization, DynamicInputsStoreNothing) {
  QuantizationArgs args = static_tensor(NumberType::Int, true);
  args.strategy = Strategy::Token;
  args.dynamic = Dynamic::Yes;
  EXPECT_FALSE(needs_range(args));
  EXPECT_TRUE(input_specs(args, io::Dtype::BF16).empty());
}

std::vector<model::Flow> three_flows() {
  std::vector<model::Flow> flows(3);
  for (int i = 0; i < 3; ++i) flows[size_t(i)].input_TI = at::full({2, 4}, i + 1.0f);
  flows[1].input_TI[1][2] = -7;
  return flows;
}

TEST(ObserveInputs, TheNamedObserverSeesOneFlowABatch) {
  std::vector<model::Flow> flows = three_flows();
  QuantizationArgs args = static_tensor(NumberType::Float, true);
  args.observer = "static_minmax";
  EXPECT_EQ(observe_inputs(args, flows, -1)->low().item<float>(), -7);
  EXPECT_EQ(observe_inputs(args, flows, -1)->high().item<float>(), 3);
  args.observer.reset();  // the moving average of minmax: 1, then 1 + (2 - 1) / 100, then that * 0.99 + 3 / 100
  EXPECT_FLOAT_EQ(observe_inputs(args, flows, -1)->high().item<float>(), 1.01f * 0.99f + 0.03f);
  std::swap(flows[0], flows[2]);
  EXPECT_FLOAT_EQ(observe_inputs(args, flows, -1)->high().item<float>(), 2.99f * 0.99f + 0.01f);
}

TEST(ObserveInputs, NamesWhatIsNotFinite) {
  std::vector<model::Flow> flows = three_flows();
  flows[0].input_TI[0][0] = NAN;
  EXPECT_THROW(observe_inputs(static_tensor(NumberType::Float, true), flows, -1), Error);
}

TEST(ObserveInputs, AnExpertWithoutTokensTakesThoseOfAll) {
  std::vector<model::Flow> flows = three_flows();
  for (model::Flow& flow : flows) {  // both rows go to expert 1
    flow.routed_rows = at::arange(2);
    flow.routed_offsets = {0, 0, 2};
  }
  QuantizationArgs args = static_tensor(NumberType::Float, true);
  args.observer = "static_minmax";
  EXPECT_EQ(observe_inputs(args, flows, 0)->low().item<float>(), -7);
  flows[1].routed_rows = at::zeros({1}, at::kLong);  // the row of -7 goes nowhere
  flows[1].routed_offsets = {0, 0, 1};
  EXPECT_EQ(observe_inputs(args, flows, 1)->low().item<float>(), 1);
}

// Whatever way the observer takes from batches to a range, its parts come together in the order of the flows.
TEST(ObserveInputs, DoNotDependOnThreads) {
  at::manual_seed(5);
  std::vector<model::Flow> flows(5);
  for (model::Flow& flow : flows) flow.input_TI = at::randn({6, 32});
  const int threads = at::get_num_threads();
  for (const char* name : {"minmax", "mse", "percentile", "static_minmax"}) {
    QuantizationArgs args = static_tensor(NumberType::Int, true);
    args.observer = name;
    at::set_num_threads(1);
    const double one = observe_inputs(args, flows, -1)->absmax();
    at::set_num_threads(4);
    EXPECT_EQ(observe_inputs(args, flows, -1)->absmax(), one) << name;
  }
  at::set_num_threads(threads);
}

TEST(HeadSpecs, OneScaleOrOneAHead) {
  QuantizationArgs args = static_tensor(NumberType::Float, true);
  EXPECT_EQ(head_specs({"k_scale"}, args, 3, io::Dtype::BF16)[0].shape, std::vector<int64_t>{1});
  args.strategy = Strategy::AttnHead;
  EXPECT_EQ(head_specs({"k_scale", "v_scale"}, args, 3, io::Dtype::BF16)[1].shape, (std::vector<int64_t>{3, 1, 1}));
}

}  // namespace
}  // namespace swage::pipeline
