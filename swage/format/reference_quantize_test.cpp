// The reference twin against compressed-tensors' own results: everything bit for bit.
#include "tests/support/reference_quantize.h"

#include <gtest/gtest.h>

#include <optional>

#include "swage/format/golden_test_support.h"

namespace swage {
namespace {

// The twin's settings for a case, or nothing for what it does not cover: blocks, other widths than 1..8 and FP8,
// grouped activation order.
std::optional<reference::QuantizeSpec> spec_of(const golden::Case& one) {
  const Json& weights = one.json.at("scheme").at("weights");
  reference::QuantizeSpec spec;
  spec.fp8 = weights.get_string("type", "int") == "float";
  spec.bits = int(weights.get_int("num_bits", 8));
  spec.symmetric = weights.get_bool("symmetric", true);
  const std::string strategy = weights.get_string("strategy", "");
  if (strategy == "block" || spec.bits > 8 || weights.get_string("actorder", "") == "group") return std::nullopt;
  if (strategy == "tensor") spec.group_size = reference::QuantizeSpec::kWholeTensor;
  if (strategy == "group") spec.group_size = weights.get_int("group_size", 0);
  spec.parameters = one.input_dtype == "bf16" ? at::kBFloat16 : one.input_dtype == "f16" ? at::kHalf : at::kFloat;
  spec.codes = spec.parameters;
  return spec;
}

TEST(ReferenceQuantize, EqualsEveryGoldenCaseBitForBit) {
  int compared = 0;
  for (const std::string library : {"ct-0.20.0", "ct-0.13.0"}) {
    for (const golden::Case& one :
         golden::cases(library, {"pack-quantized", "int-quantized", "float-quantized", "naive-quantized"})) {
      const auto spec = spec_of(one);
      if (!spec || !one.input_OI.defined()) continue;
      SCOPED_TRACE(library + "/" + one.name);
      const reference::Quantized got = reference::quantize(one.input_OI, *spec);
      EXPECT_TRUE(golden::same_bits(got.scale_OG, one.tensors.at("qparam.weight_scale")));
      for (const auto& [name, tensor] : one.tensors) {
        const bool zeros = name == "qparam.weight_zero_point" && !spec->symmetric;
        const bool codes = name == "codes.weight" || name == "compressed.weight";
        if (zeros || codes) {
          EXPECT_TRUE(golden::same_bits(zeros ? got.zero_point_OG : got.codes_OI, tensor)) << name;
        }
      }
      EXPECT_TRUE(golden::same_bits(got.values_OI.to(spec->parameters), one.tensors.at("fake_quant.weight")));
      ++compared;
    }
  }
  EXPECT_GE(compared, 10);
  std::cout << compared << " cases compared\n";
}

}  // namespace
}  // namespace swage
