#include "swage/model/activation_quantization.h"

#include <gtest/gtest.h>

#include "swage/base/error.h"
#include "swage/model/block.h"
#include "swage/model/parity_test_support.h"

namespace swage::model {
namespace {

using scheme::QuantizationArgs;

struct Case {
  std::string name;
  QuantizationArgs args;
};

QuantizationArgs token(int bits, scheme::NumberType type, bool symmetric) {
  QuantizationArgs args;
  args.num_bits = bits;
  args.type = type;
  args.symmetric = symmetric;
  args.strategy = scheme::Strategy::Token;
  args.dynamic = scheme::Dynamic::Yes;
  return args;
}

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {{"int8_token_sym", token(8, scheme::NumberType::Int, true)},
                                        {"int8_token_asym", token(8, scheme::NumberType::Int, false)},
                                        {"fp8_token", token(8, scheme::NumberType::Float, true)}};
  return all;
}

TensorMap golden_activations() {
  const std::filesystem::path full = std::filesystem::path(SWAGE_FULL_DATA) / "formats/vectors/activations.safetensors";
  if (std::filesystem::exists(full)) return read_safetensors(full);
  return read_safetensors(std::filesystem::path(SWAGE_TEST_DATA) / "model/activations.safetensors");
}

TEST(FakeQuantizeTokens, EqualsCompressedTensorsInFloat32) {
  const TensorMap golden = golden_activations();
  for (const auto& [name, args] : cases()) {
    const at::Tensor out_TI = fake_quantize_tokens(golden.at("x.f32")[0], args);
    EXPECT_TRUE(at::equal(out_TI, golden.at(name + ".f32.fake_quant")[0])) << name;
  }
}

// The bfloat16 vectors round scale, quotient and result to 8 bits each, float32 does not. A value moves by at most one
// step of its grid, plus the scale's, the quotient's and the product's rounding: three times 2^-8 of the value.
TEST(FakeQuantizeTokens, IsOneStepFromTheBfloat16Form) {
  const TensorMap golden = golden_activations();
  for (const auto& [name, args] : cases()) {
    const at::Tensor x_TI = golden.at("x.bf16")[0].to(at::kFloat);
    const at::Tensor out_TI = fake_quantize_tokens(x_TI, args), expected_TI = golden.at(name + ".bf16.fake_quant")[0];
    const at::Tensor scale_T1 = golden.at(name + ".bf16.scale")[0].to(at::kFloat);
    // e4m3 keeps 4 significant bits: neighbours are at most 2^-3 of the value apart, 2^-9 scales near zero
    const at::Tensor step_TI = args.type == scheme::NumberType::Int ? scale_T1.expand_as(x_TI) : at::maximum(x_TI.abs() / 8, scale_T1 / 512);
    const at::Tensor bound_TI = step_TI * 1.01 + x_TI.abs() * 3 / 256;
    EXPECT_TRUE(((out_TI - expected_TI.to(at::kFloat)).abs() <= bound_TI).all().item<bool>()) << name;
  }
}

TEST(FakeQuantizeTokens, TensorOperationsGiveTheSame) {
  at::manual_seed(5);
  const at::Tensor x_TI = at::randn({9, 100}) * 3;
  for (const auto& [name, args] : cases()) {
    const at::Tensor transposed_TI = x_TI.t().contiguous().t();  // not contiguous: the path of other devices
    EXPECT_TRUE(at::equal(fake_quantize_tokens(x_TI, args), fake_quantize_tokens(transposed_TI, args))) << name;
  }
}

TEST(FakeQuantizeTokens, RowsOfZerosStayZero) {
  for (const auto& [name, args] : cases()) {
    EXPECT_TRUE(at::equal(fake_quantize_tokens(at::zeros({2, 20}), args), at::zeros({2, 20}))) << name;
  }
}

TEST(FakeQuantizeTokens, LinearQuantizesItsInput) {
  at::manual_seed(6);
  Linear linear{.name = "l", .rows = 4, .columns = 8};
  linear.weight_OI = at::randn({4, 8});
  linear.bias_O = at::randn({4});
  const at::Tensor x_TI = at::randn({3, 8});
  linear.input_quantization = cases()[0].args;
  const at::Tensor expected_TO = at::linear(fake_quantize_tokens(x_TI, cases()[0].args), linear.weight_OI, linear.bias_O);
  EXPECT_TRUE(at::equal(linear(x_TI), expected_TO));
  at::Tensor sum_TO = at::ones({3, 4});
  linear.add_to(sum_TO, x_TI);
  EXPECT_LE(relative_error(sum_TO, expected_TO + 1), 1e-6);  // the order of a sum of 10 terms
}

TEST(CheckInputQuantization, RefusesWhatCannotBeRun) {
  auto args = cases()[0].args;
  EXPECT_NO_THROW(check_input_quantization(args, "m"));
  args.strategy = scheme::Strategy::Tensor;
  args.dynamic = scheme::Dynamic::No;
  try {
    check_input_quantization(args, "model.layers.0.mlp.up_proj");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Unsupported);
    EXPECT_NE(std::string(e.what()).find("model.layers.0.mlp.up_proj"), std::string::npos);
  }
  EXPECT_THROW(check_input_quantization(token(4, scheme::NumberType::Float, true), "m"), Error);
  EXPECT_THROW(check_input_quantization(token(8, scheme::NumberType::Float, false), "m"), Error);
  EXPECT_THROW(check_input_quantization(token(16, scheme::NumberType::Int, true), "m"), Error);
}

}  // namespace
}  // namespace swage::model
