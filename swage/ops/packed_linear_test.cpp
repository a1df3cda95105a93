// Products of packed codes against the same sums in f64, and against the bound that 16-bit activations promise.
#include "swage/ops/packed_linear.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "swage/base/error.h"

namespace swage::ops {
namespace {

struct Case {
  int64_t rows, columns, groups;
  int bits;
  bool zero_points = false, ordered = false;
  at::ScalarType scales = at::kBFloat16;
};

struct Weight {
  PackedCodes codes;
  at::Tensor value_OI;  // f64
};

at::Tensor values_of_e2m1(const at::Tensor& codes) {
  const at::Tensor table = at::tensor({0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0}, at::kDouble);
  const at::Tensor code = codes.to(at::kLong);
  return table.index({code.bitwise_and(7)}) * (1 - 2 * code.ge(8).to(at::kDouble));
}

// Bits 0: E2M1.
Weight random_weight(const Case& c) {
  const int64_t half = c.bits == 0 ? 0 : int64_t(1) << (c.bits - 1);
  Weight out;
  at::Tensor& codes = out.codes.codes_OI;
  codes = c.bits == 0 ? at::randint(0, 16, {c.rows, c.columns}).to(at::kByte)
                      : at::randint(-half, half, {c.rows, c.columns}).to(at::kChar);
  out.codes.bits = c.bits == 0 ? 4 : c.bits;
  out.codes.scale_OG = at::rand({c.rows, c.groups}).add_(0.1).to(c.scales);
  if (c.zero_points) out.codes.zero_point_OG = at::randint(-half, half, {c.rows, c.groups}).to(at::kChar);
  at::Tensor group_I = at::arange(c.columns, at::kLong).div(c.columns / c.groups, "floor");
  if (c.ordered) {
    group_I = group_I.index({at::randperm(c.columns)});
    out.codes.group_I = group_I.to(at::kInt);
  }
  at::Tensor value = c.bits == 0 ? values_of_e2m1(codes) : codes.to(at::kDouble);
  if (c.zero_points) value = value - out.codes.zero_point_OG.to(at::kDouble).index_select(1, group_I);
  out.value_OI = value * out.codes.scale_OG.to(at::kDouble).index_select(1, group_I);
  return out;
}

at::Tensor product(const PackedLinear& linear, const at::Tensor& x_TI) {
  at::Tensor out_TO = at::full({x_TI.size(0), linear.rows()}, std::numeric_limits<float>::quiet_NaN());
  linear.multiply(linear.input(x_TI), out_TO, false);
  return out_TO;
}

// What 16-bit activations and f32 sums may be off by.
at::Tensor bound_of(const at::Tensor& x_TI, const at::Tensor& value_OI) {
  // Each activation is off by half a step of its block at most, max / 32639 / 2; the sums in f32 by 2^-24 a block.
  const at::Tensor largest_T1 = x_TI.abs().amax(1, true).to(at::kDouble);
  return at::mm(largest_T1 * (0.501 / 32639), value_OI.abs().sum(1, true).t()) +
         at::mm(x_TI.abs().to(at::kDouble), value_OI.abs().t()) * 1e-6;
}

// Rows that fill panels and rows that do not, groups longer and shorter than a block, every width of codes.
TEST(PackedLinear, EqualsTheProductOfTheDequantizedWeight) {
  at::manual_seed(1);
  for (const Case& c :
       {Case{48, 128, 2, 4}, Case{50, 192, 3, 4, true}, Case{97, 1536, 1, 8, true}, Case{1, 36, 2, 4, true},
        Case{5, 34, 1, 8}, Case{33, 256, 2, 2}, Case{33, 256, 8, 3, true}, Case{40, 320, 5, 5, true},
        Case{16, 96, 1, 6}, Case{20, 64, 2, 7}, Case{64, 512, 4, 4, true, true}, Case{32, 256, 4, 8, false, true},
        Case{48, 256, 16, 0}, Case{48, 128, 4, 0, false, false, at::kFloat}}) {
    const Weight w = random_weight(c);
    const auto linear = PackedLinear::of_codes(w.codes);
    ASSERT_TRUE(linear.has_value());
    for (const int64_t tokens : {1, 9, 130}) {
      at::Tensor x_TI = at::randn({tokens, c.columns});
      x_TI.select(1, 3).mul_(300);  // an outlier
      const at::Tensor exact_TO = at::mm(x_TI.to(at::kDouble), w.value_OI.t());
      const at::Tensor error_TO = (product(*linear, x_TI).to(at::kDouble) - exact_TO).abs();
      EXPECT_TRUE(error_TO.le(bound_of(x_TI, w.value_OI)).all().item<bool>())
          << c.rows << " x " << c.columns << ", " << c.bits << " bits, " << tokens << " tokens";
    }
  }
}

TEST(PackedLinear, EqualsTheProductOfRowsOfFloats) {
  at::manual_seed(2);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const at::Tensor weight_OI = at::randn({37, 83}).to(type), x_TI = at::randn({9, 83});
    const auto linear = PackedLinear::of_rows(weight_OI);
    ASSERT_TRUE(linear.has_value());
    const at::Tensor exact_TO = at::mm(x_TI.to(at::kDouble), weight_OI.to(at::kDouble).t());
    // 83 products, each sum rounded by 2^-24 of what it holds.
    const at::Tensor bound_TO = at::mm(x_TI.abs().to(at::kDouble), weight_OI.abs().to(at::kDouble).t()) * 1e-6;
    EXPECT_TRUE((product(*linear, x_TI).to(at::kDouble) - exact_TO).abs().le(bound_TO).all().item<bool>()) << type;
  }
}

// A row of the result has the same bits alone, in a batch of any size, in any chunks, whatever number of threads.
TEST(PackedLinear, RowsDoNotDependOnTheirNeighbours) {
  at::manual_seed(3);
  const Weight w4 = random_weight({200, 576, 9, 4, true}), w8 = random_weight({200, 576, 1, 8}),
               fp4 = random_weight({200, 576, 36, 0});
  const at::Tensor x_TI = at::randn({150, 576});
  for (const auto& linear : {PackedLinear::of_codes(w4.codes), PackedLinear::of_codes(w8.codes),
                             PackedLinear::of_codes(fp4.codes), PackedLinear::of_rows(at::randn({200, 576}))}) {
    const at::Tensor whole_TO = product(*linear, x_TI);
    for (int64_t rows = 1; rows <= 17; ++rows) {
      for (int64_t first = 0; first < 150; first += rows) {
        const int64_t count = std::min<int64_t>(rows, 150 - first);
        ASSERT_TRUE(product(*linear, x_TI.narrow(0, first, count)).equal(whole_TO.narrow(0, first, count)))
            << rows << " rows from " << first;
      }
    }
  }
}

TEST(PackedLinear, SeveralTogetherAreEachAlone) {
  at::manual_seed(4);
  const auto a = PackedLinear::of_codes(random_weight({37, 128, 2, 4}).codes),
             b = PackedLinear::of_codes(random_weight({200, 128, 2, 8, true}).codes);
  const at::Tensor x_TI = at::randn({5, 128});
  const PackedInput input = a->input(x_TI);
  ASSERT_TRUE(b->reads(input));
  const PackedLinear* both[] = {&*a, &*b};
  at::Tensor outs[] = {at::empty({5, 37}), at::empty({5, 200})};
  multiply_together(both, input, outs, false);
  EXPECT_TRUE(outs[0].equal(product(*a, x_TI)));
  EXPECT_TRUE(outs[1].equal(product(*b, x_TI)));
}

TEST(PackedLinear, AddsIntoRowsThatLieApart) {
  at::manual_seed(5);
  const auto linear = PackedLinear::of_codes(random_weight({50, 64, 1, 4}).codes);
  const at::Tensor x_TI = at::randn({3, 64}), once_TO = product(*linear, x_TI);
  at::Tensor wide = at::zeros({3, 53}), part_TO = wide.narrow(1, 0, 50);
  linear->multiply(linear->input(x_TI), part_TO, false);
  linear->multiply(linear->input(x_TI), part_TO, true);
  EXPECT_TRUE(part_TO.equal(once_TO * 2));
  EXPECT_EQ(wide.narrow(1, 50, 3).abs().sum().item<float>(), 0);
}

TEST(PackedLinear, HoldsWhatProductsRead) {
  const auto w4 = PackedLinear::of_codes(random_weight({64, 256, 4, 4}).codes);
  EXPECT_EQ(w4->weight_bytes(), 64 * 256 / 2 + 64 * 4 * 2);  // scales of bf16 take two bytes
  const auto w8 = PackedLinear::of_codes(random_weight({64, 256, 4, 8, true}).codes);
  EXPECT_EQ(w8->weight_bytes(), 64 * 256 + 64 * 4 * 3);
}

TEST(PackedLinear, OtherWeightsAreLeftToOthers) {
  const at::Tensor scale = at::ones({2, 1});
  EXPECT_FALSE(PackedLinear::of_codes({.codes_OI = at::zeros({2, 64}, at::kFloat8_e4m3fn), .scale_OG = scale}));
  EXPECT_FALSE(PackedLinear::of_codes({.codes_OI = at::zeros({2, 64}, at::kShort), .scale_OG = scale}));
  EXPECT_FALSE(PackedLinear::of_codes({.codes_OI = at::zeros({2, 22}, at::kChar), .scale_OG = at::ones({2, 11})}));
  EXPECT_FALSE(PackedLinear::of_codes(
      {.codes_OI = at::zeros({2, 64}, at::kChar), .scale_OG = at::ones({2, 2}), .group_I = at::zeros({64}, at::kInt)}));
  EXPECT_FALSE(PackedLinear::of_rows(at::zeros({4, 4}, at::kDouble)));
}

// A value that is not finite must not vanish in the conversion.
TEST(PackedLinear, NanAndInfinityReachTheOutput) {
  const auto linear =
      PackedLinear::of_codes({.codes_OI = at::ones({3, 64}, at::kChar), .bits = 4, .scale_OG = at::ones({3, 1})});
  for (const float bad : {NAN, INFINITY}) {
    at::Tensor x_TI = at::ones({2, 64});
    x_TI[1][5] = bad;
    const at::Tensor out_TO = product(*linear, x_TI);
    EXPECT_NEAR(out_TO[0][0].item<float>(), 64, 64 * 1e-6);
    EXPECT_TRUE(std::isnan(out_TO[1][2].item<float>()));
  }
}

TEST(PackedLinear, RefusesWhatDoesNotFit) {
  const at::Tensor codes = at::zeros({4, 64}, at::kChar);
  EXPECT_THROW(PackedLinear::of_codes({.codes_OI = codes, .scale_OG = at::ones({3, 2})}), Error);
  EXPECT_THROW(PackedLinear::of_codes(
                   {.codes_OI = codes, .scale_OG = at::ones({4, 2}), .zero_point_OG = at::zeros({4, 1}, at::kChar)}),
               Error);
  EXPECT_THROW(
      PackedLinear::of_codes({.codes_OI = codes, .scale_OG = at::ones({4, 2}), .group_I = at::zeros({3}, at::kInt)}),
      Error);
  const auto linear = PackedLinear::of_codes({.codes_OI = codes, .scale_OG = at::ones({4, 2})});
  at::Tensor narrow = at::zeros({2, 3}), out = at::zeros({2, 4});
  EXPECT_THROW(linear->input(at::ones({2, 32})), Error);
  EXPECT_THROW(linear->multiply(linear->input(at::ones({2, 64})), narrow, false), Error);
  EXPECT_THROW(linear->multiply(PackedLinear::of_rows(at::ones({4, 64}))->input(at::ones({2, 64})), out, false), Error);
}

}  // namespace
}  // namespace swage::ops
