// Every stored tensor of compressed-tensors' golden cases, read and written bit for bit.
#include <gtest/gtest.h>

#include "swage/checkpoint/reader.h"
#include "swage/format/format.h"
#include "swage/format/golden_test_support.h"
#include "swage/scheme/config_json.h"

namespace swage::format {
namespace {

const std::vector<std::string> kFormats = {"pack-quantized", "int-quantized", "float-quantized", "naive-quantized"};

scheme::Scheme scheme_of(const golden::Case& one) {
  return scheme::parse_quantization_config(one.json.at("quantization_config")).groups.at(0).second;
}

// Blocks of FP8 and codes of 16 bits are not read yet.
bool covered(const scheme::QuantizationArgs& args) { return args.strategy != scheme::Strategy::Block && args.num_bits <= 8; }

TensorLookup lookup_in(const golden::Tensors& tensors) {
  return [&tensors](const std::string& suffix) {
    const auto found = tensors.find("compressed." + suffix);
    return found == tensors.end() ? at::Tensor() : found->second;
  };
}

// What a case must unpack to. The older cases lack the codes: they follow from the fake-quantized weight.
QuantizedWeight expected(const golden::Case& one, const scheme::QuantizationArgs& args) {
  QuantizedWeight weight;
  weight.scale_OG = one.tensors.at("qparam.weight_scale");
  if (!args.symmetric) weight.zero_point_OG = one.tensors.at("qparam.weight_zero_point");
  if (one.tensors.count("qparam.weight_g_idx")) weight.g_idx_I = one.tensors.at("qparam.weight_g_idx");
  for (const char* name : {"codes.weight", "compressed.weight"}) {
    if (one.tensors.count(name)) weight.codes_OI = one.tensors.at(name);
  }
  return weight;
}

void expect_unpacked(const golden::Case& one, const scheme::Scheme& scheme, const QuantizedWeight& got) {
  const QuantizedWeight want = expected(one, *scheme.weights);
  EXPECT_TRUE(golden::same_bits(got.scale_OG, want.scale_OG));
  EXPECT_EQ(got.zero_point_OG.defined(), want.zero_point_OG.defined());
  if (want.zero_point_OG.defined()) {
    EXPECT_TRUE(golden::same_bits(got.zero_point_OG, want.zero_point_OG));
  }
  if (want.g_idx_I.defined()) {
    EXPECT_TRUE(golden::same_bits(got.g_idx_I, want.g_idx_I));
  }
  if (want.codes_OI.defined()) {
    EXPECT_TRUE(golden::same_bits(got.codes_OI, want.codes_OI));
  }
  // The library multiplies in the scale's type. A product of a code (at most 9 significant bits with its zero point) and
  // a bf16 or f16 scale is exact in f32, so its one rounding is that of our f32 product. Equal as numbers: a -0 of the
  // library's has no integer code.
  const at::Tensor fake = one.tensors.at("fake_quant.weight");
  EXPECT_TRUE(at::equal(dequantize(got).to(fake.scalar_type()).to(at::kFloat), fake.to(at::kFloat)));
}

TEST(FormatGolden, UnpackGivesTheCodesAndParameters) {
  int compared = 0;
  for (const golden::Case& one : golden::cases("ct-0.20.0", kFormats)) {
    SCOPED_TRACE(one.name);
    const scheme::Scheme scheme = scheme_of(one);
    if (!covered(*scheme.weights)) continue;
    expect_unpacked(one, scheme, format_for(scheme).unpack(*scheme.weights, lookup_in(one.tensors)));
    ++compared;
  }
  EXPECT_GE(compared, 18);
}

TEST(FormatGolden, UnpackReadsTheLayoutOfOlderVersions) {
  int compared = 0, sorted = 0;
  for (const golden::Case& one : golden::cases("ct-0.13.0", kFormats)) {
    if (!one.tensors.count("compressed.weight_scale") || one.tensors.count("compressed.bitmask")) continue;
    SCOPED_TRACE(one.name);
    const scheme::Scheme scheme = scheme_of(one);
    const QuantizedWeight got = format_for(scheme).unpack_before_0_18(*scheme.weights, lookup_in(one.tensors));
    expect_unpacked(one, scheme, got);
    sorted += got.g_idx_I.defined();
    ++compared;
  }
  EXPECT_GE(compared, 3);
  EXPECT_GE(sorted, 1);
}

TEST(FormatGolden, PackGivesTheStoredTensors) {
  int compared = 0;
  for (const golden::Case& one : golden::cases("ct-0.20.0", kFormats)) {
    SCOPED_TRACE(one.name);
    const scheme::Scheme scheme = scheme_of(one);
    if (!covered(*scheme.weights)) continue;
    const Format& format = format_for(scheme);
    const QuantizedWeight weight = expected(one, *scheme.weights);
    const auto stored = format.pack(*scheme.weights, weight);
    const auto specs =
        format.specs(*scheme.weights, weight.codes_OI.size(0), weight.codes_OI.size(1), checkpoint::dtype_of(weight.scale_OG.scalar_type()));
    ASSERT_EQ(stored.size(), specs.size());
    size_t weights = 0;  // the case may hold scales of activations besides
    for (const auto& [name, tensor] : one.tensors) weights += name.rfind("compressed.weight", 0) == 0;
    EXPECT_EQ(stored.size(), weights);
    for (size_t i = 0; i < stored.size(); ++i) {
      const auto& [suffix, tensor] = stored[i];
      EXPECT_TRUE(golden::same_bits(tensor, one.tensors.at("compressed." + suffix))) << suffix;
      EXPECT_EQ(specs[i], (io::TensorSpec{suffix, checkpoint::dtype_of(tensor.scalar_type()), tensor.sizes().vec()})) << suffix;
    }
    EXPECT_EQ(format.shape(*scheme.weights, lookup_in(one.tensors)), weight.codes_OI.sizes().vec());
    ++compared;
  }
  EXPECT_GE(compared, 18);
}

}  // namespace
}  // namespace swage::format
