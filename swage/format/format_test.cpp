// Properties of all formats: what is packed comes back, and broken files are refused by name.
#include "swage/format/format.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <iostream>
#include <map>

#include "swage/base/error.h"
#include "swage/format/format_test_support.h"
#include "swage/format/golden_test_support.h"
#include "swage/format/random_weight_test_support.h"
#include "swage/scheme/presets.h"

namespace swage::format {
namespace {

using golden::same_bits;
using scheme::QuantizationArgs;
using scheme::Strategy;

QuantizationArgs integers(int bits, bool symmetric, Strategy strategy,
                          std::optional<int64_t> group_size = std::nullopt) {
  QuantizationArgs args;
  args.num_bits = bits;
  args.symmetric = symmetric;
  args.strategy = strategy;
  args.group_size = group_size;
  return args;
}

QuantizationArgs fp8(Strategy strategy) {
  QuantizationArgs args;
  args.type = scheme::NumberType::Float;
  args.strategy = strategy;
  return args;
}

void expect_round_trip(const Format& format, const QuantizationArgs& args, const QuantizedWeight& weight) {
  SCOPED_TRACE(cat(format.name, " ", args.num_bits, " bits ", args.symmetric ? "" : "a", "symmetric ",
                   name_of(args.strategy), " ", weight.codes_OI.size(0), "x", weight.codes_OI.size(1)));
  const Stored stored = packed(format, args, weight);
  const QuantizedWeight back = format.unpack(args, lookup_in(stored));
  EXPECT_TRUE(same_bits(back.codes_OI, weight.codes_OI));
  EXPECT_TRUE(same_bits(back.scale_OG, weight.scale_OG));
  EXPECT_EQ(back.zero_point_OG.defined(), weight.zero_point_OG.defined());
  if (weight.zero_point_OG.defined()) {
    EXPECT_TRUE(same_bits(back.zero_point_OG, weight.zero_point_OG));
  }
  EXPECT_EQ(format.shape(args, lookup_in(stored)), weight.codes_OI.sizes().vec());
  EXPECT_TRUE(same_bits(dequantize(back), dequantize_with_tensor_ops(weight)));
}

TEST(Formats, PackedWeightsComeBack) {
  at::manual_seed(7);
  const std::vector<std::pair<int64_t, int64_t>> shapes = {{1, 1},   {1, 96},  {96, 1},  {5, 7},
                                                           {33, 31}, {31, 33}, {64, 64}, {3, 130}};
  for (const char* name : {"pack-quantized", "int-quantized", "naive-quantized"}) {
    for (int bits = 1; bits <= 8; ++bits) {
      for (const bool symmetric : {true, false}) {
        for (const auto& [rows, columns] : shapes) {
          for (const Strategy strategy : {Strategy::Tensor, Strategy::Channel}) {
            const QuantizationArgs args = integers(bits, symmetric, strategy);
            expect_round_trip(format_named(name), args, random_weight(args, rows, columns));
          }
          for (const int64_t groups : {1, 2, 3, 5}) {
            if (columns % groups) continue;
            const QuantizationArgs args = integers(bits, symmetric, Strategy::Group, columns / groups);
            expect_round_trip(format_named(name), args, random_weight(args, rows, columns, at::kHalf));
          }
        }
      }
    }
  }
}

TEST(Formats, PackedFloatsComeBack) {
  at::manual_seed(7);
  for (const char* name : {"float-quantized", "naive-quantized"}) {
    for (const Strategy strategy : {Strategy::Tensor, Strategy::Channel}) {
      for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{1, 1}, {7, 33}, {33, 7}}) {
        expect_round_trip(format_named(name), fp8(strategy), random_weight(fp8(strategy), rows, columns, at::kFloat));
      }
    }
  }
}

TEST(Formats, SortedGroupsComeBackAndAreHonoured) {
  at::manual_seed(7);
  QuantizationArgs args = integers(4, false, Strategy::Group, 4);
  args.actorder = "group";
  QuantizedWeight weight = random_weight(args, 9, 12);
  weight.g_idx_I = at::arange(12, at::kInt).remainder(3).to(at::kInt);
  const Format& format = format_named("pack-quantized");
  Stored stored = packed(format, args, weight);
  const QuantizedWeight back = format.unpack(args, lookup_in(stored));
  EXPECT_TRUE(same_bits(back.g_idx_I, weight.g_idx_I));
  const at::Tensor values_OI = dequantize(back);
  EXPECT_TRUE(same_bits(values_OI, dequantize_with_tensor_ops(weight)));
  // Column 5 is of group 5 % 3 = 2.
  const float expected = (weight.codes_OI[4][5].item<float>() - weight.zero_point_OG[4][2].item<float>()) *
                         weight.scale_OG[4][2].item<float>();
  EXPECT_EQ(values_OI[4][5].item<float>(), expected);

  stored["weight_g_idx"] = at::arange(12, at::kInt).floor_divide(4).to(at::kInt);
  EXPECT_FALSE(format.unpack(args, lookup_in(stored)).g_idx_I.defined()) << "consecutive columns";
  stored["weight_g_idx"] = at::full({12}, -1, at::kInt);
  EXPECT_FALSE(format.unpack(args, lookup_in(stored)).g_idx_I.defined()) << "never set";
  EXPECT_THROW(format.pack(integers(4, false, Strategy::Group, 4), weight), Error)
      << "groups without the args to say so";
}

TEST(Formats, ScalesInOtherShapesAndTypesAreRead) {
  const QuantizationArgs channel = integers(8, false, Strategy::Channel), whole = integers(8, true, Strategy::Tensor);
  const QuantizedWeight weight = random_weight(channel, 5, 8, at::kDouble);
  Stored stored = packed(format_named("int-quantized"), channel, weight);
  stored["weight_scale"] = stored["weight_scale"].reshape({5});
  stored["weight_zero_point"] = stored["weight_zero_point"].reshape({5});
  const QuantizedWeight back = format_named("int-quantized").unpack(channel, lookup_in(stored));
  EXPECT_TRUE(same_bits(back.scale_OG, weight.scale_OG));
  EXPECT_TRUE(same_bits(back.zero_point_OG, weight.zero_point_OG));
  const QuantizedWeight single = random_weight(whole, 5, 8);
  Stored scalar = packed(format_named("int-quantized"), whole, single);
  scalar["weight_scale"] = scalar["weight_scale"].reshape({});
  EXPECT_TRUE(same_bits(format_named("int-quantized").unpack(whole, lookup_in(scalar)).scale_OG, single.scale_OG));
}

// Before compressed-tensors 0.10: the numbers themselves, one int8 each.
TEST(Formats, UnpackedZeroPointsAreRead) {
  const Format& format = format_named("pack-quantized");
  for (const int bits : {2, 3, 4, 8}) {
    for (const auto& args : {integers(bits, false, Strategy::Group, 8), integers(bits, false, Strategy::Channel)}) {
      for (const int64_t rows :
           {1, 5, 32}) {  // 5 int8 rows are as many as the words of 32 rows of 5 bits would be, but for the type
        const QuantizedWeight weight = random_weight(args, rows, 32);
        Stored stored = packed(format, args, weight);
        stored["weight_zero_point"] = weight.zero_point_OG;
        for (const auto& unpack : {format.unpack, format.unpack_before_0_18}) {
          const QuantizedWeight back = unpack(args, lookup_in(stored));
          EXPECT_TRUE(same_bits(back.zero_point_OG, weight.zero_point_OG));
          EXPECT_TRUE(same_bits(dequantize(back), dequantize_with_tensor_ops(weight)));
        }
      }
    }
  }
}

TEST(Formats, Fp8IsReadWithScalesOfBlocksRowsAndTensors) {
  const Format& format = format_named("fp8");
  QuantizationArgs blocks = fp8(Strategy::Block);
  blocks.block_structure = std::pair(int64_t{16}, int64_t{32});
  at::manual_seed(9);
  const at::Tensor codes_OI = at::randn({40, 72}).to(at::kFloat8_e4m3fn), grid = at::rand({3, 3}) + 0.5;
  const at::Tensor wide_OI = grid.repeat_interleave(16, 0).narrow(0, 0, 40).repeat_interleave(32, 1).narrow(1, 0, 72);
  Stored stored = {{"weight", codes_OI}, {"weight_scale_inv", grid}};
  EXPECT_TRUE(same_bits(dequantize(format.unpack(blocks, lookup_in(stored))), codes_OI.to(at::kFloat) * wide_OI));
  EXPECT_EQ(format.shape(blocks, lookup_in(stored)), (std::vector<int64_t>{40, 72}));
  stored["weight_scale_inv"] = at::full({3, 3}, 120, at::kByte);  // F8_E8M0: 2^-7
  EXPECT_TRUE(same_bits(dequantize(format.unpack(blocks, lookup_in(stored))), codes_OI.to(at::kFloat) / 128));
  for (const auto& shape : std::vector<std::vector<int64_t>>{{}, {1}, {1, 1}}) {
    stored = {{"weight", codes_OI}, {"weight_scale", at::full(shape, 0.25)}};
    EXPECT_TRUE(
        same_bits(dequantize(format.unpack(fp8(Strategy::Tensor), lookup_in(stored))), codes_OI.to(at::kFloat) / 4));
  }
  stored["weight_scale"] = at::full({40}, 0.25, at::kBFloat16);
  EXPECT_TRUE(
      same_bits(dequantize(format.unpack(fp8(Strategy::Channel), lookup_in(stored))), codes_OI.to(at::kFloat) / 4));
  EXPECT_THROW(format.pack(blocks, {}), Error) << "read only";
}

TEST(CorruptFiles, Fp8) {
  const Format& format = format_named("fp8");
  const at::Tensor codes_OI = at::zeros({4, 8}, at::kFloat8_e4m3fn);
  const auto refuses = [&](const Stored& stored) {
    try {
      format.unpack(fp8(Strategy::Channel), lookup_in(stored));
    } catch (const Error& e) {
      return e.kind() == ErrorKind::CorruptData;
    }
    return false;
  };
  EXPECT_TRUE(refuses({{"weight", codes_OI}})) << "no scale";
  EXPECT_TRUE(refuses({{"weight", codes_OI}, {"weight_scale_inv", at::ones({3, 1})}}));
  EXPECT_TRUE(refuses({{"weight", codes_OI}, {"weight_scale_inv", at::ones({4, 1}, at::kInt)}}));
  EXPECT_TRUE(refuses({{"weight", codes_OI.to(at::kFloat)}, {"weight_scale_inv", at::ones({4, 1})}}));
}

TEST(Formats, ResultsDoNotDependOnTheNumberOfThreads) {
  at::manual_seed(7);
  const QuantizationArgs args = integers(4, false, Strategy::Group, 32);
  const QuantizedWeight weight = random_weight(args, 300, 1024);
  const Format& format = format_named("pack-quantized");
  const int before = at::get_num_threads();
  std::vector<at::Tensor> words, values;
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    const Stored stored = packed(format, args, weight);
    words.push_back(stored.at("weight_packed"));
    values.push_back(dequantize(format.unpack(args, lookup_in(stored))));
  }
  at::set_num_threads(before);
  for (size_t i = 1; i < words.size(); ++i) {
    EXPECT_TRUE(same_bits(words[i], words[0]));
    EXPECT_TRUE(same_bits(values[i], values[0]));
  }
}

void expect_all_refused(const char* name, const QuantizationArgs& args, const std::vector<Damage>& damages) {
  const Format& format = format_named(name);
  QuantizedWeight weight = random_weight(args, 9, 72);
  if (orders_groups(args)) weight.g_idx_I = at::arange(72, at::kInt).remainder(3).to(at::kInt);
  const Stored whole = packed(format, args, weight);
  for (const auto& unpack : {format.unpack, format.unpack_before_0_18}) {
    for (const Damage& damage : damages) {
      Stored stored = whole;
      stored[damage.suffix] = damage.change(stored.at(damage.suffix));
      SCOPED_TRACE(cat(name, ": ", damage.suffix, " ", damage.says));
      expect_error(ErrorKind::CorruptData, damage.suffix, [&] { unpack(args, lookup_in(stored)); });
      expect_error(ErrorKind::CorruptData, damage.says, [&] { unpack(args, lookup_in(stored)); });
    }
  }
}

std::function<at::Tensor(const at::Tensor&)> claims(int64_t rows, int64_t columns) {
  return [=](const at::Tensor&) { return at::tensor({rows, columns}, at::kLong); };
}

TEST(CorruptFiles, PackQuantized) {
  QuantizationArgs args = integers(3, false, Strategy::Group, 24);
  args.actorder = "group";
  const int64_t huge = int64_t{1} << 62;
  expect_all_refused("pack-quantized", args,
                     {{"weight_packed", kMissing, "missing"},
                      {"weight_packed", as(at::kByte), "expected Int, found Byte"},
                      {"weight_packed", kFlat, "expected a matrix"},
                      {"weight_packed", kShorter, "weight_shape"},
                      {"weight_packed", kNarrower, "weight_shape"},
                      {"weight_scale", kMissing, "missing"},
                      {"weight_scale", as(at::kInt), "expected Float"},
                      {"weight_scale", kShorter, "expected shape [9, 3], found [8, 3]"},
                      {"weight_scale", kNarrower, "expected shape [9, 3], found [9, 2]"},
                      {"weight_zero_point", kMissing, "missing"},
                      {"weight_zero_point", as(at::kChar), "expected shape [9, 3], found [1, 3]"},
                      {"weight_zero_point", [](const at::Tensor&) { return at::full({9, 3}, 4, at::kChar); },
                       "4 is no number of 3 bits"},
                      {"weight_zero_point", kNarrower, "expected shape [1, 3], found [1, 2]"},
                      {"weight_zero_point", kShorter, "expected shape [1, 3], found [0, 3]"},
                      {"weight_g_idx", kShorter, "expected shape [72], found [71]"},
                      {"weight_g_idx", as(at::kFloat), "expected Int"},
                      {"weight_g_idx", [](const at::Tensor& t) { return t + 1; }, "in group 3 of 3"},
                      {"weight_g_idx", [](const at::Tensor& t) { return t - 4; }, "in group -4 of 3"},
                      {"weight_shape", kMissing, "missing"},
                      {"weight_shape", as(at::kFloat), "expected Long"},
                      {"weight_shape", kShorter, "expected shape [2], found [1]"},
                      {"weight_shape", claims(9, 73 + 32), "[9, 105] with 3 bits does not fill"},
                      {"weight_shape", claims(8, 72), "[8, 72]"},
                      {"weight_shape", claims(9, 0), "[9, 0]"},
                      {"weight_shape", claims(9, -72), "[9, -72]"},
                      {"weight_shape", claims(huge, huge), "does not fill"}});
}

TEST(CorruptFiles, PackQuantizedForTheWholeTensor) {
  expect_all_refused(
      "pack-quantized", integers(4, false, Strategy::Tensor),
      {{"weight_scale", [](const at::Tensor& t) { return t.repeat({9}); }, "expected shape [1], found [9]"},
       {"weight_zero_point", as(at::kInt), "expected Char, found Int"},
       {"weight_zero_point", [](const at::Tensor& t) { return t.repeat({9}); }, "expected shape [1], found [9]"}});
}

TEST(CorruptFiles, IntQuantized) {
  for (const char* name : {"int-quantized", "naive-quantized"}) {
    expect_all_refused(name, integers(8, false, Strategy::Channel),
                       {{"weight", kMissing, "missing"},
                        {"weight", as(at::kShort), "expected Char, found Short"},
                        {"weight", kFlat, "expected a matrix"},
                        {"weight", [](const at::Tensor& t) { return t.slice(1, 0, 0); }, "expected a matrix"},
                        {"weight_scale", kMissing, "missing"},
                        {"weight_scale", as(at::kChar), "expected Float"},
                        {"weight_scale", kShorter, "expected shape [9, 1], found [8, 1]"},
                        {"weight_zero_point", kMissing, "missing"},
                        {"weight_zero_point", as(at::kInt), "expected Char, found Int"},
                        {"weight_zero_point", kShorter, "expected shape [9, 1], found [8, 1]"}});
  }
}

TEST(CorruptFiles, FloatQuantized) {
  for (const char* name : {"float-quantized", "naive-quantized"}) {
    expect_all_refused(name, fp8(Strategy::Channel),
                       {{"weight", kMissing, "missing"},
                        {"weight", as(at::kFloat8_e5m2), "expected Float8_e4m3fn, found Float8_e5m2"},
                        {"weight", kFlat, "expected a matrix"},
                        {"weight_scale", kMissing, "missing"},
                        {"weight_scale", kShorter, "expected shape [9, 1], found [8, 1]"}});
  }
}

TEST(CorruptFiles, GroupsThatDoNotDivideTheColumns) {
  const QuantizationArgs eight = integers(4, true, Strategy::Group, 8), five = integers(4, true, Strategy::Group, 5);
  const Stored stored = packed(format_named("pack-quantized"), eight, random_weight(eight, 4, 16));
  expect_error(ErrorKind::CorruptData, "16 columns do not split into groups of 5",
               [&] { format_named("pack-quantized").unpack(five, lookup_in(stored)); });
}

TEST(Formats, WhatTheyCannotHoldIsRefused) {
  const Format &pack = format_named("pack-quantized"), &nvfp4 = format_named("nvfp4-pack-quantized"),
               &mxfp8 = format_named("mxfp8-quantized");
  QuantizationArgs wide = integers(16, true, Strategy::Channel), block = fp8(Strategy::Block);
  block.block_structure = std::pair<int64_t, int64_t>(4, 4);
  const QuantizationArgs mx = *scheme::preset("MXFP8").weights, nv = *scheme::preset("NVFP4").weights;
  const auto unsupported = [](const Format& format, const QuantizationArgs& args, const std::string& says) {
    SCOPED_TRACE(cat(format.name, ": ", says));
    expect_error(ErrorKind::Unsupported, says, [&] { format.specs(args, 32, 64, io::Dtype::BF16); });
  };
  unsupported(pack, wide, "16 bits");
  unsupported(pack, fp8(Strategy::Channel), "float");
  unsupported(pack, block, "block");
  unsupported(format_named("int-quantized"), integers(17, true, Strategy::Channel), "17 bits");
  unsupported(format_named("float-quantized"), fp8(Strategy::Token), "token");
  unsupported(format_named("naive-quantized"), mx, "torch.uint8");
  unsupported(nvfp4, integers(4, true, Strategy::Channel), "type int");
  unsupported(nvfp4, *scheme::preset("MXFP4").weights, "groups of 32");
  unsupported(mxfp8, nv, "4 bits");
  unsupported(mxfp8, fp8(Strategy::Channel), "strategy channel");
  QuantizationArgs other = mx;
  other.scale_dtype = "torch.float32";
  unsupported(mxfp8, other, "torch.float32");
  unsupported(format_named("dense"), integers(8, true, Strategy::Channel), "read, not written");
  unsupported(format_named("marlin-24"), integers(4, true, Strategy::Channel), "read, not written");
  expect_error(ErrorKind::InvalidArgument, "groups of 128",
               [&] { pack.specs(*scheme::preset("W4A16").weights, 4, 576, io::Dtype::BF16); });
  expect_error(ErrorKind::InvalidArgument, "groups of 16", [&] { nvfp4.specs(nv, 4, 40, io::Dtype::BF16); });
  expect_error(ErrorKind::Unsupported, "gguf", [] { format_named("gguf"); });
}

TEST(Formats, CodesThatDoNotFitAreRefused) {
  const auto refused = [](const char* name, const QuantizationArgs& args, const QuantizedWeight& weight,
                          const std::string& says) {
    expect_error(ErrorKind::InvalidArgument, says, [&] { format_named(name).pack(args, weight); });
  };
  const QuantizationArgs four = integers(4, true, Strategy::Channel);
  QuantizedWeight outside = random_weight(four, 2, 9);
  outside.codes_OI[1][8] = 8;
  refused("pack-quantized", four, outside, "does not fit into 4 bits");
  const QuantizationArgs nv = *scheme::preset("NVFP4").weights, six = *scheme::preset("MXFP6A16").weights;
  outside = random_weight(nv, 2, 16);
  outside.codes_OI[1][8] = 16;
  refused("nvfp4-pack-quantized", nv, outside, "does not fit into 4 bits");
  outside = random_weight(nv, 2, 16);
  outside.global_scale = at::Tensor();
  refused("nvfp4-pack-quantized", nv, outside, "global scale");
  outside = random_weight(six, 2, 32);
  outside.codes_OI = at::full({2, 32}, 8.0).to(at::kFloat8_e4m3fn);  // the largest is 7.5
  refused("mxfp6-pack-quantized", six, outside, "does not fit into 6 bits");
  outside = random_weight(six, 2, 32);
  outside.scale_OG = outside.scale_OG.to(at::kFloat);
  refused("mxfp6-pack-quantized", six, outside, "scale: expected Byte");
  QuantizationArgs block = fp8(Strategy::Block);
  block.block_structure = std::pair<int64_t, int64_t>(4, 4);
  outside = random_weight(block, 8, 8);
  outside.block_rows = 2;
  refused("float-quantized", block, outside, "blocks: expected 4 x 4, found 2 x 4");
}

TEST(Dequantize, RefusesShapesThatDoNotFit) {
  const QuantizationArgs args = integers(4, false, Strategy::Group, 4);
  const QuantizedWeight good = random_weight(args, 4, 12);
  QuantizedWeight broken = good;
  broken.scale_OG = good.scale_OG.slice(0, 0, 3);
  expect_error(ErrorKind::InvalidArgument, "scale", [&] { dequantize(broken); });
  broken = good;
  broken.zero_point_OG = good.zero_point_OG.slice(1, 0, 2);
  expect_error(ErrorKind::InvalidArgument, "zero point", [&] { dequantize(broken); });
  broken = good;
  broken.g_idx_I = at::full({12}, 3, at::kInt);
  expect_error(ErrorKind::InvalidArgument, "in group 3 of 3", [&] { dequantize(broken); });
}

// On one thread, a weight small enough that allocating its 4 MB of values is not what is timed. Asserts nothing: the
// machine may be busy.
TEST(Formats, SlowThroughput) {
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const auto best_rate = [](double codes, const auto& work) {
    double best = 0;
    for (int i = 0; i < 30; ++i) {
      const auto start = std::chrono::steady_clock::now();
      work();
      best =
          std::max(best, codes / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / 1e9);
    }
    return best;
  };
  for (const auto& [name, args] : {std::pair{"pack-quantized", integers(4, true, Strategy::Group, 128)},
                                   {"pack-quantized", integers(4, false, Strategy::Group, 128)},
                                   {"pack-quantized", integers(3, true, Strategy::Group, 128)},
                                   {"pack-quantized", integers(8, true, Strategy::Group, 128)},
                                   {"int-quantized", integers(8, true, Strategy::Channel)},
                                   {"float-quantized", fp8(Strategy::Channel)}}) {
    const Format& format = format_named(name);
    const QuantizedWeight weight = random_weight(args, 1024, 1024);
    const Stored stored = packed(format, args, weight);
    const double codes = double(weight.codes_OI.numel());
    std::cout << name << " " << args.num_bits << (args.symmetric ? " bits: " : " bits asymmetric: ") << "pack "
              << best_rate(codes, [&] { format.pack(args, weight); }) << ", unpack "
              << best_rate(codes, [&] { format.unpack(args, lookup_in(stored)); }) << ", dequantize "
              << best_rate(codes, [&] { dequantize(weight); }) << " billion codes/s a thread\n";
  }
  at::set_num_threads(before);
}

}  // namespace
}  // namespace swage::format
