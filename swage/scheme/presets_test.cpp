#include "swage/scheme/presets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"
#include "swage/scheme/describe.h"

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
  EXPECT_EQ(with_group_size(preset("W4AFP8"), 64).weights->group_size, 64);
}

TEST(Presets, OverridesThatNothingCouldServeAreRefused) {
  EXPECT_EQ(error_of([] { with_group_size(preset("W4A16"), 0); }).first, ErrorKind::InvalidArgument);
  EXPECT_EQ(error_of([] { with_group_size(preset("W8A8"), 64); }).first, ErrorKind::InvalidArgument);
  EXPECT_EQ(error_of([] { with_group_size(preset("FP8_DYNAMIC"), -1); }).first, ErrorKind::InvalidArgument);
  EXPECT_EQ(error_of([] { with_group_size(preset("NVFP4"), 32); }).first, ErrorKind::InvalidArgument);
  EXPECT_EQ(error_of([] { with_group_size(preset("UNQUANTIZED"), 32); }).first, ErrorKind::InvalidArgument);
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

TEST(Quantization, NarrowIntegersArePackedUnlessAFormatIsGiven) {
  Scheme scheme = preset("W4A8");
  EXPECT_EQ(default_format(scheme), "int-quantized");
  EXPECT_EQ(format_of(scheme), "pack-quantized");
  scheme.format = "int-quantized";
  EXPECT_EQ(format_of(scheme), "int-quantized");
  EXPECT_EQ(format_of(preset("W8A8")), "int-quantized");
  EXPECT_EQ(format_of(preset("UNQUANTIZED")), "dense");
}

TEST(Describe, NamesTheNumbersAndWhatSharesAScale) {
  const std::vector<std::pair<std::string, std::string>> words = {
      {"W4A16", "W4A16 g128"},  {"W4A16_ASYM", "W4A16_ASYM g128"},
      {"INT8", "W8A8"},         {"W4AFP8", "W4AFP8 g128"},
      {"FP8", "FP8A8"},         {"FP8_BLOCK", "FP8A8 128x128"},
      {"NVFP4", "NVFP4A4 g16"}, {"MXFP4A16", "MXFP4A16 g32"},
      {"MXFP8", "MXFP8A8 g32"}, {"UNQUANTIZED", "float"}};
  for (const auto& [name, text] : words) EXPECT_EQ(describe(preset(name)), text);
}

}  // namespace
}  // namespace swage::scheme
