// Formats of narrow floats, blocks and wide integers, and the retired sparse ones: round trips over random shapes, and
// broken files.
#include <array>

#include "swage/format/checkpoint_test_support.h"
#include "swage/format/float_codes.h"
#include "swage/format/format.h"
#include "swage/format/format_test_support.h"
#include "swage/format/random_weight_test_support.h"
#include "swage/format/sparse_bitmask.h"
#include "swage/scheme/presets.h"

namespace swage::format {
namespace {

using golden::same_bits;
using scheme::QuantizationArgs;
using scheme::Strategy;

bool same_or_none(const at::Tensor& got, const at::Tensor& want) {
  return want.defined() ? same_bits(got, want) : !got.defined();
}

void expect_round_trip(const Format& format, const QuantizationArgs& args, int64_t rows, int64_t columns,
                       at::ScalarType scales) {
  SCOPED_TRACE(cat(format.name, " ", args.num_bits, " bits ", name_of(args.strategy), " ", rows, "x", columns));
  const QuantizedWeight weight = random_weight(args, rows, columns, scales);
  const Stored stored = packed(format, args, weight);
  const QuantizedWeight back = format.unpack(args, lookup_in(stored));
  EXPECT_TRUE(same_or_none(back.codes_OI, weight.codes_OI));
  EXPECT_TRUE(same_or_none(back.scale_OG, weight.scale_OG));
  EXPECT_TRUE(same_or_none(back.zero_point_OG, weight.zero_point_OG));
  EXPECT_TRUE(same_or_none(back.global_scale, weight.global_scale));
  EXPECT_EQ(std::pair(back.block_rows, back.block_columns), std::pair(weight.block_rows, weight.block_columns));
  EXPECT_EQ(format.shape(args, lookup_in(stored)), weight.codes_OI.sizes().vec());
  EXPECT_TRUE(same_bits(dequantize(back), dequantize_with_tensor_ops(weight)));
  const auto specs = format.specs(args, rows, columns, checkpoint::dtype_of(scales));
  ASSERT_EQ(specs.size(), stored.size());
  for (const io::TensorSpec& spec : specs) {
    const at::Tensor& tensor = stored.at(spec.name);
    EXPECT_EQ(spec, (io::TensorSpec{spec.name, checkpoint::dtype_of(tensor.scalar_type()), tensor.sizes().vec()}));
  }
}

int64_t random_size(int64_t most) { return at::randint(1, most + 1, {1}, at::kLong).item<int64_t>(); }

TEST(MoreFormats, NarrowFloatsOfRandomShapesComeBack) {
  at::manual_seed(7);
  for (const char* name : {"NVFP4", "MXFP4", "MXFP6A16", "MXFP8"}) {
    const scheme::Scheme scheme = scheme::preset(name);
    const QuantizationArgs& args = *scheme.weights;
    expect_round_trip(format_for(scheme), args, 1, *args.group_size, at::kBFloat16);
    expect_round_trip(format_for(scheme), args, 1, 17 * *args.group_size, at::kBFloat16);
    expect_round_trip(format_for(scheme), args, 300, *args.group_size, at::kBFloat16);
    expect_round_trip(format_for(scheme), args, 700, 256, at::kBFloat16);  // more than one task
    for (int i = 0; i < 40; ++i)
      expect_round_trip(format_for(scheme), args, random_size(40), random_size(12) * *args.group_size, at::kBFloat16);
  }
}

TEST(MoreFormats, BlocksOfRandomSizesComeBack) {
  at::manual_seed(8);
  for (int i = 0; i < 60; ++i) {
    QuantizationArgs args;
    args.type = i % 2 ? scheme::NumberType::Float : scheme::NumberType::Int;
    args.strategy = Strategy::Block;
    args.symmetric = i % 2 || i % 4 == 0;
    args.block_structure = std::pair(random_size(20), random_size(20));
    for (const char* name : {i % 2 ? "float-quantized" : "int-quantized", "naive-quantized"}) {
      expect_round_trip(format_named(name), args, random_size(50), random_size(50), i % 3 ? at::kBFloat16 : at::kFloat);
    }
  }
}

TEST(MoreFormats, IntegersOfNineToSixteenBitsComeBack) {
  at::manual_seed(9);
  for (int bits = 9; bits <= 16; ++bits) {
    for (const Strategy strategy : {Strategy::Tensor, Strategy::Channel}) {
      QuantizationArgs args;
      args.num_bits = bits;
      args.strategy = strategy;
      args.symmetric = bits % 2;
      expect_round_trip(format_named("naive-quantized"), args, random_size(30), random_size(30), at::kFloat);
    }
  }
}

TEST(MoreFormats, PackedIntegersOfRandomShapesComeBack) {
  at::manual_seed(10);
  constexpr std::array kScales = {at::kBFloat16, at::kHalf, at::kFloat};
  for (int i = 0; i < 400; ++i) {
    QuantizationArgs args;
    args.num_bits = 1 + i % 8;
    args.symmetric = i % 16 < 8;
    args.strategy = std::array{Strategy::Group, Strategy::Channel, Strategy::Tensor}[size_t(i) % 3];
    int64_t columns = random_size(200);
    if (args.strategy == Strategy::Group) {
      args.group_size = random_size(40);
      columns = *args.group_size * random_size(6);
    }
    expect_round_trip(format_named("pack-quantized"), args, random_size(70), columns, kScales[size_t(i) % 3]);
  }
}

// Values of the codes by their definition, one a code.
TEST(MoreFormats, CodesHaveTheirValues) {
  const QuantizationArgs args = *scheme::preset("NVFP4").weights;
  QuantizedWeight weight;
  weight.codes_OI = at::arange(16, at::kByte).reshape({1, 16});
  weight.scale_OG = at::full({1, 1}, 2.0).to(at::kFloat8_e4m3fn);
  weight.global_scale = at::full({1}, 4.0f);
  const at::Tensor expected = at::tensor(
      {0.0f, 0.25f, 0.5f, 0.75f, 1.0f, 1.5f, 2.0f, 3.0f, -0.0f, -0.25f, -0.5f, -0.75f, -1.0f, -1.5f, -2.0f, -3.0f});
  EXPECT_TRUE(same_bits(dequantize(weight), expected.reshape({1, 16})));
  weight.global_scale = at::Tensor();
  for (const auto& [exponent, value] : {std::pair{0, 0x1p-127f}, {1, 0x1p-126f}, {127, 1.0f}, {254, 0x1p127f}}) {
    weight.scale_OG = at::full({1, 1}, exponent, at::kByte);
    EXPECT_EQ(dequantize(weight)[0][2].item<float>(), value) << exponent;
    EXPECT_TRUE(same_bits(dequantize(weight), dequantize_with_tensor_ops(weight))) << exponent;
  }
}

TEST(MoreFormats, CodesOfSixBitsAreTheValuesTheyStandFor) {
  for (unsigned code = 0; code < 64; ++code) {
    const unsigned exponent = code >> 3 & 3, mantissa = code & 7;
    const float magnitude = exponent ? (1 + float(mantissa) / 8) * float(1 << exponent) / 2 : float(mantissa) / 8;
    const std::array<uint8_t, 3> bytes = {uint8_t(code), 0, 0};
    std::array<uint8_t, 4> e4m3{};
    unpack_six_bits(bytes.data(), 4, e4m3.data());
    const float value = c10::Float8_e4m3fn(e4m3[0], c10::Float8_e4m3fn::from_bits());
    EXPECT_EQ(value, code & 32 ? -magnitude : magnitude) << code;
    EXPECT_EQ(std::signbit(value), (code & 32) != 0) << code;
    std::array<uint8_t, 3> again{};
    EXPECT_TRUE(pack_six_bits(e4m3.data(), 4, again.data()));
    EXPECT_EQ(again, bytes);
  }
}

// --- broken files
// ------------------------------------------------------------------------------------------------------

const auto kTwice = [](const at::Tensor& t) { return t.repeat({2}); };
void expect_all_refused(const Stored& whole, const std::vector<Damage>& damages,
                        const std::function<void(const Stored&)>& read) {
  read(whole);
  for (const Damage& damage : damages) {
    Stored stored = whole;
    stored[damage.suffix] = damage.change(stored.at(damage.suffix));
    SCOPED_TRACE(damage.suffix + " " + damage.says);
    expect_error(ErrorKind::CorruptData, damage.suffix, [&] { read(stored); });
    expect_error(ErrorKind::CorruptData, damage.says, [&] { read(stored); });
  }
}

void expect_format_refuses(const char* preset, const std::vector<Damage>& damages) {
  const scheme::Scheme scheme = scheme::preset(preset);
  const Format& format = format_for(scheme);
  SCOPED_TRACE(preset);
  expect_all_refused(packed(format, *scheme.weights, random_weight(*scheme.weights, 9, 96)), damages,
                     [&](const Stored& stored) { format.unpack(*scheme.weights, lookup_in(stored)); });
}

TEST(CorruptFiles, NarrowFloats) {
  expect_format_refuses("NVFP4", {{"weight_packed", kMissing, "missing"},
                                  {"weight_packed", as(at::kInt), "expected Byte, found Int"},
                                  {"weight_packed", kFlat, "rows of whole groups of 8 bytes"},
                                  {"weight_packed", kNarrower, "rows of whole groups of 8 bytes"},
                                  {"weight_scale", kMissing, "missing"},
                                  {"weight_scale", as(at::kByte), "expected Float8_e4m3fn, found Byte"},
                                  {"weight_scale", kShorter, "expected shape [9, 6], found [8, 6]"},
                                  {"weight_scale", kNarrower, "expected shape [9, 6], found [9, 5]"},
                                  {"weight_global_scale", kMissing, "missing"},
                                  {"weight_global_scale", as(at::kBFloat16), "expected Float, found BFloat16"},
                                  {"weight_global_scale", kTwice, "expected shape [1], found [2]"}});
  for (const char* preset : {"MXFP4", "MXFP6A16"}) {
    expect_format_refuses(preset, {{"weight_packed", kNarrower, "rows of whole groups of"},
                                   {"weight_scale", as(at::kFloat), "expected Byte, found Float"},
                                   {"weight_scale", kNarrower, "expected shape [9, 3], found [9, 2]"}});
  }
  expect_format_refuses("MXFP8", {{"weight", kMissing, "missing"},
                                  {"weight", kFlat, "expected a matrix"},
                                  {"weight", kNarrower, "do not split into groups of 32"},
                                  {"weight_scale", as(at::kFloat8_e4m3fn), "expected Byte, found Float8_e4m3fn"}});
  expect_format_refuses("FP8_BLOCK", {{"weight_scale", [](const at::Tensor& t) { return t.repeat({2, 1}); },
                                       "expected shape [1, 1], found [2, 1]"}});
}

TEST(CorruptFiles, Dense) {
  const QuantizationArgs args = *with_group_size(scheme::preset("W4A16_ASYM"), 24).weights;
  const Stored whole = {{"weight", at::randn({8, 48})},
                        {"weight_scale", at::ones({8, 2})},
                        {"weight_zero_point", at::zeros({8, 2}, at::kChar)}};
  expect_all_refused(whole,
                     {{"weight", kMissing, "missing"},
                      {"weight", as(at::kChar), "expected Float, found Char"},
                      {"weight", kFlat, "expected a matrix"},
                      {"weight_scale", kShorter, "expected shape [8, 2], found [7, 2]"},
                      {"weight_zero_point", kNarrower, "expected shape [8, 2], found [8, 1]"}},
                     [&](const Stored& stored) { format_named("dense").unpack(args, lookup_in(stored)); });
}

TEST(CorruptFiles, Marlin24) {
  const QuantizationArgs args = *with_group_size(scheme::preset("W4A16"), 32).weights;
  // Two tile rows of 64 outputs; every four columns keep the first two.
  const Stored whole = {{"weight_packed", at::randint(0, 1000, {2, 128}, at::kInt)},
                        {"scale_packed", at::ones({2, 64}, at::kHalf)},
                        {"meta", at::full({2, 128}, 0x4444, at::kShort)}};
  const auto claims = [](int value) { return [=](const at::Tensor& t) { return at::full_like(t, value); }; };
  expect_all_refused(whole,
                     {{"weight_packed", kMissing, "missing"},
                      {"weight_packed", kNarrower, "whole runs of 1024 codes"},
                      {"scale_packed", kNarrower, "expected shape [2, 64], found [2, 63]"},
                      {"scale_packed", kMissing, "missing"},
                      {"meta", as(at::kInt), "expected Short, found Int"},
                      {"meta", kShorter, "expected shape [2, 128], found [1, 128]"},
                      {"meta", claims(0x4441), " keeps columns "}},
                     [&](const Stored& stored) { format_named("marlin-24").unpack(args, lookup_in(stored)); });
  const QuantizationArgs other = *with_group_size(scheme::preset("W4A16"), 48).weights;
  expect_error(ErrorKind::CorruptData, "scale_packed: 64 columns do not split into groups of 48",
               [&] { format_named("marlin-24").unpack(other, lookup_in(whole)); });
}

TEST(CorruptFiles, SparseBitmask) {
  const Stored whole = {{"shape", at::tensor({2, 11}, at::kLong)},
                        {"bitmask", at::tensor({3, 4, 128, 1}, at::kInt).to(at::kByte).reshape({2, 2})},
                        {"compressed", at::arange(1, 6, at::kFloat)},
                        {"row_offsets", at::tensor({0, 3}, at::kLong)}};
  const at::Tensor values = expand_sparse(lookup_in(whole));
  EXPECT_EQ(values[0][10].item<float>(), 3);
  EXPECT_EQ(values[1][7].item<float>(), 4);
  EXPECT_EQ(values[1][8].item<float>(), 5);
  EXPECT_EQ(values.count_nonzero().item<int64_t>(), 5);
  const auto becomes = [](const at::Tensor& other) { return [=](const at::Tensor&) { return other; }; };
  expect_all_refused(
      whole,
      {{"shape", kMissing, "missing"},
       {"shape", kTwice, "shape: expected two sizes, found 4"},
       {"bitmask", as(at::kChar), "expected Byte, found Char"},
       {"bitmask", kNarrower, "bitmask: shape [2, 1] does not fit a weight of 2 x 11"},
       {"bitmask", becomes(at::full({2, 2}, 8, at::kByte)), " names columns beyond "},
       {"compressed", kShorter, "compressed: the bitmask names 5 values, found 4"},
       {"compressed", as(at::kLong), "expected Float, found Long"},
       {"row_offsets", kShorter, "expected shape [2], found [1]"},
       {"row_offsets", [](const at::Tensor& t) { return t + 1; }, "row_offsets: do not follow from the bitmask"}},
      [](const Stored& stored) { expand_sparse(lookup_in(stored)); });
}

}  // namespace
}  // namespace swage::format
