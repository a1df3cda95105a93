#include "swage/format/awq.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "swage/format/format_test_support.h"
#include "swage/format/golden_test_support.h"

namespace swage::format {
namespace {

using scheme::QuantizationArgs;

QuantizationArgs args_of(bool symmetric, std::optional<int64_t> group_size) {
  QuantizationArgs args;
  args.num_bits = 4;
  args.symmetric = symmetric;
  args.strategy = group_size ? scheme::Strategy::Group : scheme::Strategy::Channel;
  args.group_size = group_size;
  return args;
}

TEST(Awq, GoldenFilesAreReadAndWrittenBitForBit) {
  int compared = 0;
  for (const golden::fs::path& root : golden::roots()) {
    for (const auto& entry : golden::fs::directory_iterator(root / "awq")) {
      if (entry.path().extension() != ".safetensors") continue;
      SCOPED_TRACE(entry.path().string());
      std::cout << entry.path().string() << "\n";
      const golden::Tensors tensors = golden::read_safetensors(entry.path());
      QuantizedWeight want;
      want.codes_OI = (tensors.at("codes.weight") - 8).to(at::kChar);
      want.zero_point_OG = (tensors.at("codes.zero_point") - 8).to(at::kChar);
      want.scale_OG = tensors.at("awq.scales").t().contiguous();
      const QuantizationArgs args = args_of(false, want.codes_OI.size(1) / want.scale_OG.size(1));
      const QuantizedWeight got = awq_format().unpack(args, lookup_in(tensors, "awq."));
      EXPECT_TRUE(golden::same_bits(got.codes_OI, want.codes_OI));
      EXPECT_TRUE(golden::same_bits(got.zero_point_OG, want.zero_point_OG));
      EXPECT_TRUE(golden::same_bits(got.scale_OG, want.scale_OG));
      // A code difference of at most 15 times an f16 scale is exact in f32: one rounding to f16, as the library's.
      EXPECT_TRUE(at::equal(dequantize(got).to(at::kHalf), tensors.at("dequantized.weight")));
      EXPECT_EQ(awq_format().shape(args, lookup_in(tensors, "awq.")), want.codes_OI.sizes().vec());
      for (const auto& [suffix, tensor] : awq_format().pack(args, want))
        EXPECT_TRUE(golden::same_bits(tensor, tensors.at("awq." + suffix))) << suffix;
      ++compared;
    }
  }
  EXPECT_GE(compared, 1);
}

QuantizedWeight random_awq(const QuantizationArgs& args, int64_t rows, int64_t columns) {
  QuantizedWeight weight;
  weight.codes_OI = at::randint(-8, 8, {rows, columns}, at::kLong).to(at::kChar);
  weight.scale_OG = (at::rand({rows, columns / args.group_size.value_or(columns)}) + 0.01).to(at::kHalf);
  if (!args.symmetric) weight.zero_point_OG = at::randint(-8, 8, weight.scale_OG.sizes(), at::kLong).to(at::kChar);
  return weight;
}

TEST(Awq, TheDocumentedWord) {
  QuantizedWeight weight = random_awq(args_of(true, {}), 8, 1);
  weight.codes_OI = (at::arange(8) - 8).to(at::kChar).reshape({8, 1});
  EXPECT_EQ(awq_format().pack(args_of(true, {}), weight)[0].second.item<int32_t>(), 0x75316420);
}

TEST(Awq, RoundTripsAnyShape) {
  at::manual_seed(5);
  for (const auto& [rows, columns, group] :
       {std::tuple<int64_t, int64_t, int64_t>{8, 1, 1}, {8, 7, 7}, {16, 99, 33}, {72, 128, 32}, {264, 65, -1}}) {
    for (const bool symmetric : {true, false}) {
      SCOPED_TRACE(cat(rows, " x ", columns, " group ", group));
      const QuantizationArgs args = args_of(symmetric, group > 0 ? std::optional(group) : std::nullopt);
      const QuantizedWeight weight = random_awq(args, rows, columns);
      const auto stored = awq_format().pack(args, weight);
      const auto specs = awq_format().specs(args, rows, columns, io::Dtype::F16);
      ASSERT_EQ(stored.size(), specs.size());
      for (size_t i = 0; i < specs.size(); ++i) {
        EXPECT_EQ(specs[i].name, stored[i].first);
        EXPECT_EQ(specs[i].shape, stored[i].second.sizes().vec());
      }
      const golden::Tensors tensors(stored.begin(), stored.end());
      EXPECT_EQ(awq_zeros_are_symmetric(tensors.at("qzeros")), symmetric);
      const QuantizedWeight got = awq_format().unpack(args, lookup_in(tensors));
      EXPECT_TRUE(golden::same_bits(got.codes_OI, weight.codes_OI));
      EXPECT_TRUE(golden::same_bits(got.scale_OG, weight.scale_OG));
      EXPECT_EQ(got.zero_point_OG.defined(), !symmetric);
      if (!symmetric) {
        EXPECT_TRUE(golden::same_bits(got.zero_point_OG, weight.zero_point_OG));
      }
    }
  }
}

TEST(Awq, BrokenTensorsAreNamed) {
  at::manual_seed(6);
  const QuantizationArgs args = args_of(false, 32);
  const auto stored = awq_format().pack(args, random_awq(args, 16, 64));
  const auto broken = [&](const std::string& suffix, const at::Tensor& replacement, const std::string& says,
                          const QuantizationArgs& with) {
    golden::Tensors tensors(stored.begin(), stored.end());
    if (replacement.defined()) tensors[suffix] = replacement;
    expect_error(ErrorKind::CorruptData, says, [&] { awq_format().unpack(with, lookup_in(tensors)); });
  };
  broken("qweight", at::zeros({64}, at::kInt), "qweight: expected a matrix", args);
  broken("qzeros", at::zeros({2, 3}, at::kInt), "qzeros: expected shape [2, 2], found [2, 3]", args);
  broken("scales", at::zeros({2, 8}, at::kHalf), "scales: expected shape [2, 16], found [2, 8]", args);
  broken("", {}, " inputs do not split into groups of 48", args_of(false, 48));
  broken("", {}, "qzeros: expected zero points of 8", args_of(true, 32));
}

TEST(Awq, RefusesWhatItCannotHold) {
  at::manual_seed(7);
  const QuantizationArgs args = args_of(false, 32);
  QuantizedWeight weight = random_awq(args, 16, 64);
  expect_error(ErrorKind::InvalidArgument, "multiples of 8, got 12",
               [&] { awq_format().specs(args, 12, 64, io::Dtype::F16); });
  weight.codes_OI[0][0] = 8;
  expect_error(ErrorKind::InvalidArgument, "does not fit into 4 bits", [&] { awq_format().pack(args, weight); });
  weight = random_awq(args, 16, 64);
  weight.g_idx_I = at::arange(64).to(at::kInt);
  expect_error(ErrorKind::InvalidArgument, "cannot store sorted groups", [&] { awq_format().pack(args, weight); });
  QuantizationArgs three = args;
  three.num_bits = 3;
  expect_error(ErrorKind::Unsupported, "integers of 4 bits",
               [&] { awq_format().specs(three, 16, 64, io::Dtype::F16); });
}

}  // namespace
}  // namespace swage::format
