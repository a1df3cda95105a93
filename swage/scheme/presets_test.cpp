#include "swage/scheme/presets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"

namespace swage::scheme {
namespace {

template <class Call>
std::pair<ErrorKind, std::string> error_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return {error.kind(), error.what()};
  }
  return {ErrorKind::Internal, "no error"};
}

TEST(Presets, AreFoundInAnyCase) {
  EXPECT_EQ(preset("w4a16"), preset("W4A16"));
  EXPECT_EQ(preset("INT8"), preset("W8A8"));
  for (const std::string& name : preset_names()) EXPECT_NO_THROW(preset(name)) << name;
}

TEST(Presets, UnknownNamesListTheKnownOnes) {
  const auto [kind, text] = error_of([] { preset("W4A17"); });
  EXPECT_EQ(kind, ErrorKind::InvalidArgument);
  for (const std::string& name : preset_names()) EXPECT_THAT(text, testing::HasSubstr(name));
  const auto [other_kind, other_text] = error_of([] { preset("nvfp4"); });
  EXPECT_EQ(other_kind, ErrorKind::Unsupported);
  EXPECT_THAT(other_text, testing::HasSubstr("NVFP4"));
}

TEST(Presets, GroupSizeAndSymmetryCanBeOverridden) {
  const Scheme grouped = with_group_size(preset("W4A16"), 64);
  EXPECT_EQ(grouped.weights->group_size, 64);
  EXPECT_EQ(grouped.weights->strategy, Strategy::Group);
  const Scheme whole = with_group_size(grouped, -1);
  EXPECT_EQ(whole.weights->group_size, std::nullopt);
  EXPECT_EQ(whole.weights->strategy, Strategy::Channel);
  EXPECT_EQ(with_symmetric(preset("W4A16"), false), preset("W4A16_ASYM"));
  EXPECT_EQ(with_symmetric(preset("FP8_DYNAMIC"), true), preset("FP8_DYNAMIC"));
}

TEST(Presets, OverridesThatNothingCouldServeAreRefused) {
  EXPECT_EQ(error_of([] { with_group_size(preset("W4A16"), 0); }).first, ErrorKind::InvalidArgument);
  EXPECT_EQ(error_of([] { with_group_size(preset("W8A8"), 64); }).first, ErrorKind::InvalidArgument);
  EXPECT_EQ(error_of([] { with_group_size(preset("FP8_DYNAMIC"), -1); }).first, ErrorKind::InvalidArgument);
  EXPECT_EQ(error_of([] { with_symmetric(preset("FP8_DYNAMIC"), false); }).first, ErrorKind::InvalidArgument);
  EXPECT_EQ(error_of([] { with_symmetric(preset("W8A8"), false); }).first, ErrorKind::InvalidArgument);
}

TEST(Quantization, CodeRanges) {
  QuantizationArgs args;
  args.num_bits = 4;
  EXPECT_EQ(code_min(args), -8);
  EXPECT_EQ(code_max(args), 7);
  args.num_bits = 1;
  EXPECT_EQ(code_min(args), -1);
  EXPECT_EQ(code_max(args), 0);
  args.type = NumberType::Float;
  for (const auto& [bits, largest] : {std::pair{8, 448.0}, {6, 7.5}, {4, 6.0}}) {
    args.num_bits = bits;
    EXPECT_EQ(code_min(args), -largest);
    EXPECT_EQ(code_max(args), largest);
  }
  args.num_bits = 5;
  EXPECT_EQ(error_of([&] { code_max(args); }).first, ErrorKind::Unsupported);
}

TEST(Quantization, GroupsMustDivideTheColumns) {
  EXPECT_EQ(columns_per_scale(*preset("W4A16").weights, 256), 128);
  EXPECT_EQ(columns_per_scale(*preset("W8A8").weights, 100), 100);
  EXPECT_EQ(error_of([] { columns_per_scale(*preset("W4A16").weights, 576); }).first, ErrorKind::InvalidArgument);
}

// The rules of compressed-tensors 0.20 in its order, one line each.
TEST(Quantization, DefaultFormats) {
  const auto format = [](int bits, NumberType type, std::optional<int64_t> group, bool activations) {
    Scheme scheme;
    scheme.weights = QuantizationArgs{};
    scheme.weights->num_bits = bits;
    scheme.weights->type = type;
    scheme.weights->group_size = group;
    if (type == NumberType::Float && group == 32 && bits == 8) scheme.weights->scale_dtype = "torch.uint8";
    if (activations) scheme.input_activations = QuantizationArgs{};
    return default_format(scheme);
  };
  EXPECT_EQ(format(4, NumberType::Float, 32, false), "mxfp4-pack-quantized");
  EXPECT_EQ(format(6, NumberType::Float, 32, true), "mxfp6-pack-quantized");
  EXPECT_EQ(format(8, NumberType::Float, 32, true), "mxfp8-quantized");
  EXPECT_EQ(format(4, NumberType::Float, 16, true), "nvfp4-pack-quantized");
  EXPECT_EQ(format(4, NumberType::Int, 128, true), "int-quantized");
  EXPECT_EQ(format(1, NumberType::Int, 128, false), "pack-quantized");
  EXPECT_EQ(format(8, NumberType::Int, std::nullopt, false), "pack-quantized");
  EXPECT_EQ(format(8, NumberType::Float, std::nullopt, true), "float-quantized");
  EXPECT_EQ(format(8, NumberType::Float, std::nullopt, false), "naive-quantized");
  EXPECT_EQ(format(16, NumberType::Int, std::nullopt, false), "naive-quantized");
  EXPECT_EQ(default_format(Scheme{}), "dense");
}

}  // namespace
}  // namespace swage::scheme
