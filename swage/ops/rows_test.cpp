#include "swage/ops/rows.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "swage/kernels/kernels.h"
#include "swage/ops/relative_error_test_support.h"

namespace swage::ops {
namespace {

constexpr double kFloatRounding = 6e-8;  // half a unit in the last place of float32

// Sizes around the 16 partial sums.
class Rows : public testing::TestWithParam<int64_t> {};

TEST_P(Rows, RmsNormIsTheFormulaInDouble) {
  at::manual_seed(1);
  const int64_t size = GetParam();
  const at::Tensor x = at::randn({5, size}), weight = at::randn({size});
  at::Tensor out = x.clone();
  rms_norm_(out, weight, 1e-5);
  EXPECT_TRUE(at::equal(out, rms_norm(x, weight, 1e-5)));
  const at::Tensor wide = x.to(at::kDouble);
  const at::Tensor expected = wide / (wide.square().mean(-1, true) + 1e-5).sqrt() * weight.to(at::kDouble);
  // each partial sum rounds size / 16 times at most, the factor and the two products once
  EXPECT_LE(relative_error(out, expected), (double(size) / 16 + 8) * kFloatRounding);
}

TEST_P(Rows, SiluMultiplyIsTheFormulaInDouble) {
  at::manual_seed(2);
  const int64_t size = GetParam();
  at::Tensor gate = at::randn({3, size}) * 20;
  const at::Tensor up = at::randn({3, size}), wide = gate.to(at::kDouble);
  const at::Tensor expected = wide / (1 + (-wide).exp()) * up.to(at::kDouble);
  silu_multiply_(gate, up);
  const at::Tensor error = (gate.to(at::kDouble) - expected).abs();
  // exp is within 2 ulp and range-reduced with a rounded argument; sum, quotient and product round once each
  EXPECT_TRUE((error <= expected.abs() * 12 * kFloatRounding).all().item<bool>());
}

// A number's result is that of its formula, and the same wherever it lies.
TEST_P(Rows, SiluLooksAtEachNumberByItself) {
  at::manual_seed(5);
  at::Tensor x = at::randn({3, GetParam()}) * 10, alone = x.clone();
  const at::Tensor wide = x.to(at::kDouble), expected = wide / (1 + (-wide).exp());
  silu_each_(x);
  // exp, sum, quotient and product round once each, exp within an ulp
  EXPECT_TRUE(((x - expected).abs() <= expected.abs() * 6 * kFloatRounding).all().item<bool>());
  for (int64_t i = 0; i < alone.numel(); ++i) {
    at::Tensor one = alone.view(-1).narrow(0, i, 1).clone();
    silu_each_(one);
    EXPECT_EQ(one.item<float>(), x.view(-1)[i].item<float>()) << i;
  }
}

TEST_P(Rows, RotateTurnsPairs) {
  at::manual_seed(3);
  const int64_t half = GetParam();
  at::Tensor x = at::randn({4, 3, 2 * half});
  const at::Tensor angle = at::rand({4, half}) * 6, before = x.clone();
  const at::Tensor cosine = angle.cos(), sine = angle.sin();
  rotate_halves_(x, cosine, sine);
  const at::Tensor a = before.narrow(2, 0, half), b = before.narrow(2, half, half);
  const at::Tensor c = cosine.unsqueeze(1), s = sine.unsqueeze(1);
  EXPECT_TRUE(at::equal(x, at::cat({a * c - b * s, b * c + a * s}, 2)));  // the same float operations
}

TEST_P(Rows, ColumnRangesAreThoseOfAllRows) {
  at::manual_seed(5);
  const int64_t size = GetParam();
  const at::Tensor x = at::randn({11, size});
  const ColumnRanges of = column_ranges(x, true);
  EXPECT_TRUE(of.low_I.equal(x.amin(0)) && of.high_I.equal(x.amax(0)));
  EXPECT_TRUE(at::allclose(of.sum_abs_I, x.to(at::kDouble).abs().sum(0), 1e-14, 0));  // 11 terms in f64
  at::Tensor broken = x.clone();
  broken.select(0, 3).fill_(std::numeric_limits<float>::quiet_NaN());
  const ColumnRanges none = column_ranges(broken, false);
  EXPECT_TRUE(none.low_I.isnan().all().item<bool>() && none.high_I.isnan().all().item<bool>());
  EXPECT_FALSE(none.sum_abs_I.defined());
}

// What the kernels do not take, ATen computes.
TEST_P(Rows, TensorsThatAreNotContiguousGiveNearlyTheSame) {
  at::manual_seed(6);
  const int64_t size = GetParam();
  const at::Tensor weight = at::randn({size}), up = at::randn({5, size});
  const at::Tensor strided = at::randn({5, 2 * size}).narrow(1, 0, size), x = strided.contiguous();
  const double bound = (double(size) / 16 + 12) * kFloatRounding;  // as of each formula above
  EXPECT_LE(relative_error(rms_norm(strided, weight, 1e-5), rms_norm(x, weight, 1e-5)), bound);
  ASSERT_FALSE(strided.is_contiguous());
  at::Tensor same = x.clone(), gate = at::empty({5, 2 * size}).narrow(1, 0, size).copy_(strided);
  silu_multiply_(same, up);
  silu_multiply_(gate, up);
  EXPECT_LE(relative_error(gate, same), bound);
}

TEST_P(Rows, SoftmaxOverVisibleKeys) {
  at::manual_seed(4);
  const int64_t keys = GetParam() + 3, window = 5;
  for (const int64_t width : {int64_t{0}, window}) {
    at::Tensor scores = at::randn({6, keys}) * 30;  // three queries of two heads, the last sees every key
    const at::Tensor query = at::arange(6).floor_divide(2).unsqueeze(1) + (keys - 3), key = at::arange(keys);
    at::Tensor hidden = key > query;
    if (width > 0) hidden = hidden.logical_or(key <= query - width);
    const at::Tensor expected = (scores.to(at::kDouble) * 0.5).masked_fill(hidden, -INFINITY).softmax(-1);
    kernels::fast_kernels().softmax_rows({scores.mutable_data_ptr<float>(), 6, keys, 0.5f, keys - 3, width, 2});
    EXPECT_LE((scores - expected).abs().max().item<double>(),
              4e-6);  // shares below 1, exponents rounded by at most 2e-6
    EXPECT_TRUE((scores.masked_select(hidden) == 0).all().item<bool>());
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, Rows, testing::Values(1, 7, 16, 33, 64, 576));

TEST(SiluMultiply, KeepsItsLimits) {
  at::Tensor gate = at::tensor({-1000.0f, -88.0f, 0.0f, 88.0f, 1000.0f});
  const at::Tensor up = at::ones({5});
  silu_multiply_(gate, up);
  EXPECT_NEAR(gate[0].item<float>(), 0, 1e-30);
  EXPECT_NEAR(gate[1].item<float>(), 0, 1e-30);
  EXPECT_EQ(gate[2].item<float>(), 0);
  EXPECT_EQ(gate[3].item<float>(), 88);
  EXPECT_EQ(gate[4].item<float>(), 1000);
}

// Every float8 and values around every midpoint between neighbours.
TEST(RoundToE4m3, EqualsTheConversionOfLibtorch) {
  const at::Tensor codes = at::arange(0, 127).to(at::kByte).view(at::kFloat8_e4m3fn).to(at::kFloat);
  const at::Tensor middle = (codes.narrow(0, 0, 126) + codes.narrow(0, 1, 126)) / 2;
  at::Tensor x = at::cat({codes, middle, middle * (1 + 1e-6f), middle * (1 - 1e-6f)});
  x = at::cat({x, -x});
  at::Tensor out = at::empty_like(x);
  kernels::fast_kernels().round_to_e4m3({x.const_data_ptr<float>(), x.numel(), 1, out.mutable_data_ptr<float>()});
  EXPECT_TRUE(at::equal(out, x.to(at::kFloat8_e4m3fn).to(at::kFloat)));
}

}  // namespace
}  // namespace swage::ops
