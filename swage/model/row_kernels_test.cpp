#include "swage/model/row_kernels.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "swage/model/parity_test_support.h"

namespace swage::model {
namespace {

constexpr double kFloatRounding = 6e-8;  // half a unit in the last place of float32

// Sizes around the 16 partial sums.
class RowKernels : public testing::TestWithParam<int64_t> {};

TEST_P(RowKernels, RmsNormIsTheFormulaInDouble) {
  at::manual_seed(1);
  const int64_t size = GetParam();
  const at::Tensor x = at::randn({5, size}), weight = at::randn({size});
  at::Tensor out = at::empty_like(x);
  rows::rms_norm(x.const_data_ptr<float>(), weight.const_data_ptr<float>(), 5, size, 1e-5f,
                 out.mutable_data_ptr<float>());
  const at::Tensor wide = x.to(at::kDouble);
  const at::Tensor expected = wide / (wide.square().mean(-1, true) + 1e-5).sqrt() * weight.to(at::kDouble);
  // each partial sum rounds size / 16 times at most, the factor and the two products once
  EXPECT_LE(relative_error(out, expected), (double(size) / 16 + 8) * kFloatRounding);
}

TEST_P(RowKernels, SiluMultiplyIsTheFormulaInDouble) {
  at::manual_seed(2);
  const int64_t size = GetParam();
  at::Tensor gate = at::randn({3, size}) * 20;
  const at::Tensor up = at::randn({3, size}), wide = gate.to(at::kDouble);
  const at::Tensor expected = wide / (1 + (-wide).exp()) * up.to(at::kDouble);
  rows::silu_multiply(gate.mutable_data_ptr<float>(), up.const_data_ptr<float>(), gate.numel());
  const at::Tensor error = (gate.to(at::kDouble) - expected).abs();
  // exp is within 2 ulp and range-reduced with a rounded argument; sum, quotient and product round once each
  EXPECT_TRUE((error <= expected.abs() * 12 * kFloatRounding).all().item<bool>());
}

TEST_P(RowKernels, RotateTurnsPairs) {
  at::manual_seed(3);
  const int64_t half = GetParam();
  at::Tensor x = at::randn({4, 3, 2 * half});
  const at::Tensor angle = at::rand({4, half}) * 6, before = x.clone();
  const at::Tensor cosine = angle.cos(), sine = angle.sin();
  rows::rotate(x.mutable_data_ptr<float>(), cosine.const_data_ptr<float>(), sine.const_data_ptr<float>(), 4, 3, half);
  const at::Tensor a = before.narrow(2, 0, half), b = before.narrow(2, half, half);
  const at::Tensor c = cosine.unsqueeze(1), s = sine.unsqueeze(1);
  EXPECT_TRUE(at::equal(x, at::cat({a * c - b * s, b * c + a * s}, 2)));  // the same float operations
}

TEST_P(RowKernels, AbsmaxFindsEveryPlace) {
  const int64_t size = GetParam();
  for (int64_t i = 0; i < size; ++i) {
    at::Tensor x = at::ones({size});
    x[i] = -3;
    EXPECT_EQ(rows::absmax(x.const_data_ptr<float>(), size), 3);
  }
}

TEST_P(RowKernels, ColumnRangesGoOnFromWhatIsThere) {
  at::manual_seed(5);
  const int64_t size = GetParam();
  const at::Tensor x = at::randn({11, size});
  for (const bool wanted : {false, true}) {
    at::Tensor low = at::full({size}, 0.5f), high = at::full({size}, 0.25f), sum = at::full({size}, 2.0, at::kDouble);
    rows::column_ranges(x.const_data_ptr<float>(), 11, size, low.mutable_data_ptr<float>(),
                        high.mutable_data_ptr<float>(), wanted ? sum.mutable_data_ptr<double>() : nullptr);
    EXPECT_TRUE(low.equal(x.amin(0).clamp_max(0.5f)) && high.equal(x.amax(0).clamp_min(0.25f)));
    at::Tensor broken = x.clone();
    broken.select(0, 3).fill_(std::numeric_limits<float>::quiet_NaN());
    rows::column_ranges(broken.const_data_ptr<float>(), 11, size, low.mutable_data_ptr<float>(),
                        high.mutable_data_ptr<float>(), nullptr);
    EXPECT_TRUE(low.isnan().all().item<bool>() && high.isnan().all().item<bool>());
    EXPECT_TRUE(
        at::allclose(sum, wanted ? x.to(at::kDouble).abs().sum(0) + 2 : at::full({size}, 2.0, at::kDouble), 1e-14, 0));
  }
}

TEST_P(RowKernels, SoftmaxOverVisibleKeys) {
  at::manual_seed(4);
  const int64_t keys = GetParam() + 3, window = 5;
  for (const int64_t width : {int64_t{0}, window}) {
    at::Tensor scores = at::randn({6, keys}) * 30;  // three queries of two heads, the last sees every key
    const at::Tensor query = at::arange(6).floor_divide(2).unsqueeze(1) + (keys - 3), key = at::arange(keys);
    at::Tensor hidden = key > query;
    if (width > 0) hidden = hidden.logical_or(key <= query - width);
    const at::Tensor expected = (scores.to(at::kDouble) * 0.5).masked_fill(hidden, -INFINITY).softmax(-1);
    rows::softmax(scores.mutable_data_ptr<float>(), 6, keys, 0.5f, {keys - 3, width, 2});
    EXPECT_LE((scores - expected).abs().max().item<double>(),
              4e-6);  // shares below 1, exponents rounded by at most 2e-6
    EXPECT_TRUE((scores.masked_select(hidden) == 0).all().item<bool>());
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, RowKernels, testing::Values(1, 7, 16, 33, 64, 576));

TEST(SiluMultiply, KeepsItsLimits) {
  at::Tensor gate = at::tensor({-1000.0f, -88.0f, 0.0f, 88.0f, 1000.0f});
  const at::Tensor up = at::ones({5});
  rows::silu_multiply(gate.mutable_data_ptr<float>(), up.const_data_ptr<float>(), 5);
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
  rows::round_to_e4m3(x.const_data_ptr<float>(), x.numel(), 1, out.mutable_data_ptr<float>());
  EXPECT_TRUE(at::equal(out, x.to(at::kFloat8_e4m3fn).to(at::kFloat)));
}

}  // namespace
}  // namespace swage::model
