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

QuantizationArgs args_of(int bits, scheme::NumberType type, bool symmetric,
                         scheme::Strategy strategy = scheme::Strategy::Token,
                         scheme::Dynamic dynamic = scheme::Dynamic::Yes) {
  QuantizationArgs args;
  args.num_bits = bits;
  args.type = type;
  args.symmetric = symmetric;
  args.strategy = strategy;
  args.dynamic = dynamic;
  return args;
}

QuantizationArgs grouped(QuantizationArgs args, int64_t size, const char* scale_dtype = nullptr) {
  args.group_size = size;
  if (scale_dtype) args.scale_dtype = scale_dtype;
  return args;
}

const std::vector<Case>& cases() {
  using enum scheme::Strategy;
  using enum scheme::Dynamic;
  constexpr auto kInt = scheme::NumberType::Int, kFloat = scheme::NumberType::Float;
  static const std::vector<Case> all = {
      {"int8_token_sym", args_of(8, kInt, true)},
      {"int8_token_asym", args_of(8, kInt, false)},
      {"fp8_token", args_of(8, kFloat, true)},
      {"fp8_tensor_dynamic", args_of(8, kFloat, true, Tensor)},
      {"fp8_group128", grouped(args_of(8, kFloat, true, Group), 128)},
      {"mxfp8_group32", grouped(args_of(8, kFloat, true, Group), 32, "torch.uint8")},
      {"mxfp4_group32", grouped(args_of(4, kFloat, true, Group), 32, "torch.uint8")},
      {"nvfp4_local", grouped(args_of(4, kFloat, true, TensorGroup, Local), 16, "torch.float8_e4m3fn")},
      {"int8_tensor_static_sym", args_of(8, kInt, true, Tensor, No)},
      {"int8_tensor_static_asym", args_of(8, kInt, false, Tensor, No)},
      {"fp8_tensor_static", args_of(8, kFloat, true, Tensor, No)},
  };
  return all;
}

// With the stored scales of the vectors, if the case has such.
ActivationQuantization with_stored(const TensorMap& golden, const Case& c, const std::string& dtype) {
  ActivationQuantization out{.args = c.args};
  const auto stored = [&](const char* suffix) {
    return golden.at(c.name + "." + dtype + suffix).to(at::kFloat).reshape({-1});
  };
  if (c.args.dynamic == scheme::Dynamic::No) {
    out.scale = stored(".scale");
    if (!c.args.symmetric) out.zero_point = stored(".zero_point");
  }
  if (c.args.dynamic == scheme::Dynamic::Local) out.global_scale = stored(".global_scale");
  return out;
}

TensorMap golden_activations() {
  const std::filesystem::path full = std::filesystem::path(SWAGE_FULL_DATA) / "formats/vectors/activations.safetensors";
  if (std::filesystem::exists(full)) return read_safetensors(full);
  return read_safetensors(std::filesystem::path(SWAGE_TEST_DATA) / "model/activations.safetensors");
}

TEST(FakeQuantize, EqualsCompressedTensorsInFloat32) {
  const TensorMap golden = golden_activations();
  for (const Case& c : cases()) {
    const at::Tensor out_TI = fake_quantize(golden.at("x.f32")[0], with_stored(golden, c, "f32"));
    EXPECT_TRUE(at::equal(out_TI, golden.at(c.name + ".f32.fake_quant")[0])) << c.name;
  }
}

// The bfloat16 vectors round scale, quotient and result to 8 bits each, float32 does not. A value moves by at most one
// step of its grid, plus the scale's, the quotient's and the product's rounding: three times 2^-8 of the value.
TEST(FakeQuantize, IsOneStepFromTheBfloat16Form) {
  const TensorMap golden = golden_activations();
  for (const Case& c : cases()) {
    const at::Tensor x_TI = golden.at("x.bf16")[0].to(at::kFloat);
    const at::Tensor out_TI = fake_quantize(x_TI, with_stored(golden, c, "bf16"));
    const at::Tensor expected_TI = golden.at(c.name + ".bf16.fake_quant")[0].to(at::kFloat);
    at::Tensor scale = golden.at(c.name + ".bf16.scale").to(at::kFloat);
    if (c.args.dynamic == scheme::Dynamic::Local) scale = scale / golden.at(c.name + ".bf16.global_scale");
    if (scale.dim() == 3) scale = scale[0].repeat_interleave(x_TI.size(1) / scale.size(2), 1);
    // e4m3 keeps 4 significant bits: neighbours are at most 2^-3 of the value apart, 2^-9 scales near zero; e2m1 2 bits
    at::Tensor step_TI = scale.expand_as(x_TI);
    if (c.args.type == scheme::NumberType::Float && c.args.num_bits == 8)
      step_TI = at::maximum(x_TI.abs() / 8, step_TI / 512);
    if (c.args.num_bits == 4) step_TI = at::maximum(x_TI.abs() / 2, step_TI / 2);
    const at::Tensor bound_TI = step_TI * 1.01 + x_TI.abs() * 3 / 256;
    EXPECT_TRUE(((out_TI - expected_TI).abs() <= bound_TI).all().item<bool>()) << c.name;
  }
}

TEST(FakeQuantize, TensorsThatAreNotContiguousGiveTheSame) {
  at::manual_seed(5);
  const TensorMap golden = golden_activations();
  const at::Tensor x_TI = at::randn({9, 128}) * 3;
  for (const Case& c : cases()) {
    const at::Tensor transposed_TI = x_TI.t().contiguous().t();
    const ActivationQuantization q = with_stored(golden, c, "f32");
    EXPECT_TRUE(at::equal(fake_quantize(x_TI, q), fake_quantize(transposed_TI, q))) << c.name;
  }
}

// Of float8 in groups the last one of a row may be narrower; a group shares its scale with nobody.
TEST(FakeQuantize, TheLastGroupOfFloat8MayBeNarrower) {
  at::manual_seed(5);
  const at::Tensor x_TI = at::randn({3, 80}) * at::tensor({1.0f, 100.0f, 0.01f}).unsqueeze(1);
  const ActivationQuantization groups{
      .args = grouped(args_of(8, scheme::NumberType::Float, true, scheme::Strategy::Group), 32)};
  const at::Tensor out_TI = fake_quantize(x_TI, groups);
  for (int64_t from = 0; from < 80; from += 32) {
    const int64_t to = std::min<int64_t>(from + 32, 80);
    const ActivationQuantization tokens{.args = args_of(8, scheme::NumberType::Float, true)};
    EXPECT_TRUE(at::equal(out_TI.slice(1, from, to), fake_quantize(x_TI.slice(1, from, to), tokens)));
  }
  ActivationQuantization mx = groups;
  mx.args.scale_dtype = "torch.uint8";
  EXPECT_THROW(fake_quantize(x_TI, mx), Error);
}

TEST(FakeQuantize, RowsOfZerosStayZero) {
  const TensorMap golden = golden_activations();
  for (const Case& c : cases()) {
    const at::Tensor out_TI = fake_quantize(at::zeros({2, 128}), with_stored(golden, c, "f32"));
    EXPECT_TRUE(at::equal(out_TI, at::zeros({2, 128}))) << c.name;
  }
}

// One scale a head: rows are [token, head].
TEST(FakeQuantize, HeadsTakeTheirScalesInTurn) {
  ActivationQuantization q{
      .args = args_of(8, scheme::NumberType::Float, true, scheme::Strategy::AttnHead, scheme::Dynamic::No)};
  q.scale = at::tensor({1.0f, 0.01f});
  const at::Tensor x_TI = at::tensor({500.0f, 5.0f, 1.0f, 1.0f}).view({4, 1});
  const at::Tensor expected_TI = at::tensor({448.0f, 448 * 0.01f, 1.0f, 96 * 0.01f}).view({4, 1});
  EXPECT_TRUE(at::allclose(fake_quantize(x_TI, q), expected_TI)) << fake_quantize(x_TI, q);
}

TEST(FakeQuantize, LinearQuantizesItsInput) {
  at::manual_seed(6);
  Linear linear{.name = "l", .rows = 4, .columns = 8};
  linear.weight_OI = at::randn({4, 8});
  linear.bias_O = at::randn({4});
  const at::Tensor x_TI = at::randn({3, 8});
  linear.input_quantization = ActivationQuantization{.args = cases()[0].args};
  const at::Tensor expected_TO =
      at::linear(fake_quantize(x_TI, *linear.input_quantization), linear.weight_OI, linear.bias_O);
  EXPECT_TRUE(at::equal(linear(x_TI), expected_TO));
  at::Tensor sum_TO = at::ones({3, 4});
  linear.add_to(sum_TO, x_TI);
  EXPECT_LE(relative_error(sum_TO, expected_TO + 1), 1e-6);  // the order of a sum of 10 terms
}

TEST(LoadInputQuantization, ReadsTheScalesAndNamesTheMissingOne) {
  MapSource source{{}};
  source.inputs["m"] = args_of(8, scheme::NumberType::Int, false, scheme::Strategy::Tensor, scheme::Dynamic::No);
  source.tensors["m.input_scale"] = at::tensor({0.5f});
  try {
    load_input_quantization("m", source);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::CorruptData);
    EXPECT_NE(std::string(e.what()).find("m.input_zero_point"), std::string::npos) << e.what();
  }
  source.tensors["m.input_zero_point"] = at::tensor({3.0f});
  EXPECT_EQ(load_input_quantization("m", source).value().zero_point.item<float>(), 3);
  source.tensors["m.input_scale"] = at::ones({2});
  try {
    load_input_quantization("m", source);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("m.input_scale: expected one value, found 2"), std::string::npos) << e.what();
  }
  EXPECT_FALSE(load_input_quantization("other", source).has_value());
}

TEST(CheckActivationQuantization, RefusesWhatCannotBeRun) {
  for (const Case& c : cases()) EXPECT_NO_THROW(check_activation_quantization(c.args, "m")) << c.name;
  constexpr auto kFloat = scheme::NumberType::Float;
  try {
    check_activation_quantization(args_of(8, kFloat, true, scheme::Strategy::Channel, scheme::Dynamic::No),
                                  "model.layers.0.mlp.up_proj");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Unsupported);
    EXPECT_NE(std::string(e.what()).find("model.layers.0.mlp.up_proj"), std::string::npos);
  }
  EXPECT_THROW(check_activation_quantization(args_of(6, kFloat, true), "m"), Error);
  EXPECT_THROW(check_activation_quantization(args_of(8, kFloat, false), "m"), Error);
  EXPECT_THROW(check_activation_quantization(args_of(16, scheme::NumberType::Int, true), "m"), Error);
}

}  // namespace
}  // namespace swage::model
