// Products of codes against the same sums in f64, and against the bound that 16-bit activations promise.
#include "swage/ops/integer_linear.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "swage/base/error.h"

namespace swage::ops {
namespace {

struct Case {
  int64_t tokens, rows, columns, groups;
  at::ScalarType type;
  bool zero_points;
};

struct Weight {
  at::Tensor codes_OI, scale_OG, zero_OG, value_OI;  // value in f64
};

Weight random_weight(const Case& c) {
  const bool bytes = c.type == at::kByte;
  Weight out;
  out.codes_OI = at::randint(bytes ? 0 : -128, bytes ? 256 : 128, {c.rows, c.columns}).to(c.type);
  out.scale_OG = at::rand({c.rows, c.groups}).add_(0.1).to(at::kBFloat16);
  if (c.zero_points) out.zero_OG = at::randint(bytes ? 0 : -128, bytes ? 256 : 128, {c.rows, c.groups}).to(c.type);
  const int64_t group = c.columns / c.groups;
  at::Tensor codes = out.codes_OI.to(at::kDouble);
  if (c.zero_points) codes = codes - out.zero_OG.to(at::kDouble).repeat_interleave(group, 1);
  out.value_OI = codes * out.scale_OG.to(at::kDouble).repeat_interleave(group, 1);
  return out;
}

// Rows that fill panels and rows that do not, groups longer and shorter than a block, one token and many.
TEST(IntegerLinear, EqualsTheProductOfTheDequantizedWeight) {
  at::manual_seed(1);
  for (const Case& c : {Case{9, 48, 128, 2, at::kChar, false}, Case{1, 50, 192, 3, at::kChar, true},
                        Case{130, 97, 1536, 1, at::kByte, true}, Case{17, 1, 36, 2, at::kByte, false},
                        Case{8, 5, 34, 1, at::kChar, false}, Case{150, 50, 192, 1, at::kChar, true},
                        Case{33, 64, 256, 4, at::kByte, true}, Case{40, 49, 288, 3, at::kByte, false}}) {
    const Weight w = random_weight(c);
    const auto linear = IntegerLinear::make(w.codes_OI, w.scale_OG, w.zero_OG);
    ASSERT_TRUE(linear.has_value());
    at::Tensor x_TI = at::randn({c.tokens, c.columns});
    x_TI.select(1, 3).mul_(300);  // an outlier in the first block
    const at::Tensor exact_TO = at::mm(x_TI.to(at::kDouble), w.value_OI.t());
    // Each activation is off by half a step of its block at most, max / 32767 / 2; the sums in f32 by 2^-24 a block.
    const at::Tensor largest_T1 = x_TI.abs().amax(1, true).to(at::kDouble);
    const at::Tensor bound_TO = at::mm(largest_T1 * (0.501 / 32767), w.value_OI.abs().sum(1, true).t()) +
                                at::mm(x_TI.abs().to(at::kDouble), w.value_OI.abs().t()) * 1e-6;
    at::Tensor out_TO = at::full({c.tokens, c.rows}, std::numeric_limits<float>::quiet_NaN());
    const IntegerInput input = IntegerLinear::quantize(x_TI, linear->block());
    linear->multiply(input, out_TO, false);
    EXPECT_TRUE((out_TO.to(at::kDouble) - exact_TO).abs().le(bound_TO).all().item<bool>())
        << c.rows << " x " << c.columns;
    // A second product, added, into rows that lie apart.
    at::Tensor wide = at::zeros({c.tokens, c.rows + 3});
    at::Tensor part_TO = wide.narrow(1, 0, c.rows);
    linear->multiply(input, part_TO, false);
    linear->multiply(input, part_TO, true);
    EXPECT_TRUE(part_TO.equal(out_TO * 2));
    EXPECT_EQ(wide.narrow(1, c.rows, 3).abs().sum().item<float>(), 0);
  }
}

// Zero points at the ends of their range: codes less them reach from -255 to 255.
TEST(IntegerLinear, TakesTheLargestDifferences) {
  at::manual_seed(2);
  for (const at::ScalarType type : {at::kChar, at::kByte}) {
    const int64_t low = type == at::kChar ? -128 : 0;
    Weight w = random_weight({1, 50, 128, 2, type, true});
    w.zero_OG.select(1, 0).fill_(low);
    w.zero_OG.select(1, 1).fill_(low + 255);
    w.codes_OI.select(1, 5).fill_(low + 255);
    w.codes_OI.select(1, 70).fill_(low);
    const at::Tensor value_OI = (w.codes_OI.to(at::kDouble) - w.zero_OG.to(at::kDouble).repeat_interleave(64, 1)) *
                                w.scale_OG.to(at::kDouble).repeat_interleave(64, 1);
    const auto linear = IntegerLinear::make(w.codes_OI, w.scale_OG, w.zero_OG);
    const at::Tensor x_TI = at::ones({20, 128});
    at::Tensor out_TO = at::zeros({20, 50});
    linear->multiply(IntegerLinear::quantize(x_TI, linear->block()), out_TO, false);
    const at::Tensor exact_TO = x_TI.to(at::kDouble).mm(value_OI.t());
    // Ones are exact but for their scale, 1 / 32767 in f32, and the two sums of a row are rounded.
    EXPECT_TRUE(at::allclose(out_TO.to(at::kDouble), exact_TO, 4e-7, 1e-7 * value_OI.abs().sum().item<double>()));
  }
}

TEST(IntegerLinear, BlocksFollowTheGroups) {
  const auto block = [](int64_t columns, int64_t groups) {
    const auto linear = IntegerLinear::make(at::zeros({2, columns}, at::kChar), at::ones({2, groups}), {});
    return linear ? linear->block() : 0;
  };
  EXPECT_EQ(block(256, 4), 64);
  EXPECT_EQ(block(256, 2), 128);
  EXPECT_EQ(block(576, 1), 96);  // the longest even divisor up to 128
  EXPECT_EQ(block(4096, 1), 128);
  EXPECT_EQ(block(21, 1), 0);  // odd: no pairs
  EXPECT_EQ(block(34, 17), 2);
}

TEST(IntegerLinear, OtherCodesAreLeftToOthers) {
  EXPECT_FALSE(IntegerLinear::make(at::zeros({2, 64}, at::kFloat8_e4m3fn), at::ones({2, 1}), {}).has_value());
}

// A value that is not finite must not vanish in the conversion.
TEST(IntegerLinear, NanAndInfinityReachTheOutput) {
  const auto linear = IntegerLinear::make(at::ones({3, 64}, at::kChar), at::ones({3, 1}), {});
  for (const float bad : {NAN, INFINITY}) {
    at::Tensor x_TI = at::ones({2, 64}), out_TO = at::zeros({2, 3});
    x_TI[1][5] = bad;
    linear->multiply(IntegerLinear::quantize(x_TI, linear->block()), out_TO, false);
    EXPECT_EQ(out_TO[0][0].item<float>(), 64);
    EXPECT_TRUE(std::isnan(out_TO[1][2].item<float>()));
  }
}

TEST(IntegerLinear, RefusesWhatDoesNotFit) {
  const at::Tensor codes = at::zeros({4, 64}, at::kChar);
  EXPECT_THROW(IntegerLinear::make(codes, at::ones({4, 5}), {}), Error);
  EXPECT_THROW(IntegerLinear::make(codes, at::ones({4, 2}), at::zeros({4, 1}, at::kChar)), Error);
  const auto linear = IntegerLinear::make(codes, at::ones({4, 2}), {});
  at::Tensor out = at::zeros({2, 4}), narrow = at::zeros({2, 3});
  EXPECT_THROW(linear->multiply(IntegerLinear::quantize(at::ones({2, 32}), 32), out, false), Error);
  EXPECT_THROW(linear->multiply(IntegerLinear::quantize(at::ones({2, 64}), 32), narrow, false), Error);
  EXPECT_THROW(IntegerLinear::quantize(at::ones({2, 30}), 32), Error);
}

}  // namespace
}  // namespace swage::ops
