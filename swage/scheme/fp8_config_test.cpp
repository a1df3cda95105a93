#include "swage/scheme/fp8_config.h"

#include <gtest/gtest.h>

#include "swage/base/error.h"

namespace swage::scheme {
namespace {

QuantizationConfig parse(const char* text) { return parse_quantization_config(parse_json(text, "config.json")); }

TEST(Fp8Config, BlocksAreThoseOfTheWeights) {
  const QuantizationConfig config = parse(
      R"({"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 64]})");
  ASSERT_EQ(config.groups.size(), 1u);
  const Scheme& scheme = config.groups[0].second;
  EXPECT_EQ(scheme.format, kFp8Format);
  EXPECT_EQ(scheme.weights->strategy, Strategy::Block);
  EXPECT_EQ(scheme.weights->block_structure, std::pair(int64_t{128}, int64_t{64}));
  EXPECT_EQ(scheme.input_activations->group_size, 64);
  EXPECT_EQ(scheme.input_activations->dynamic, Dynamic::Yes);
}

TEST(Fp8Config, WithoutBlocksInputsHaveOneScaleOrOneAToken) {
  const QuantizationConfig fixed =
      parse(R"({"quant_method": "fp8", "activation_scheme": "static", "weight_block_size": null})");
  EXPECT_EQ(fixed.groups[0].second.input_activations->strategy, Strategy::Tensor);
  EXPECT_EQ(fixed.groups[0].second.input_activations->dynamic, Dynamic::No);
  const QuantizationConfig moving = parse(R"({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0})");
  EXPECT_EQ(moving.groups[0].second.input_activations->strategy, Strategy::Token);
}

TEST(Fp8Config, RefusesWhatMakesNoSense) {
  const auto kind_of = [](const char* text) {
    try {
      parse(text);
    } catch (const Error& e) {
      return e.kind();
    }
    return ErrorKind::Internal;
  };
  EXPECT_EQ(kind_of(R"({"quant_method": "fp8", "weight_block_size": [128]})"), ErrorKind::CorruptData);
  EXPECT_EQ(kind_of(R"({"quant_method": "fp8", "weight_block_size": [128, -1]})"), ErrorKind::CorruptData);
  EXPECT_EQ(kind_of(R"({"quant_method": "fp8", "activation_scheme": "sometimes"})"), ErrorKind::CorruptData);
  EXPECT_EQ(kind_of(R"({"quant_method": "fp8", "fmt": "e5m2"})"), ErrorKind::Unsupported);
}

// Without an error that names the library nobody would know what to do.
TEST(Fp8Config, OtherLibrariesAreNamedWithTheWayOut) {
  for (const char* method : {"bitsandbytes", "hqq", "eetq", "aqlm", "quanto", "torchao", "modelopt", "something"}) {
    try {
      parse(cat(R"({"quant_method": ")", method, R"("})").c_str());
      ADD_FAILURE() << method;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::Unsupported);
      EXPECT_NE(std::string(e.what()).find(method), std::string::npos);
      EXPECT_NE(std::string(e.what()).find("start from the model that it was made of"), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace swage::scheme
