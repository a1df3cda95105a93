#include "swage/model/mlp.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "swage/base/error.h"
#include "swage/model/parity_test_support.h"

namespace swage::model {
namespace {

MapSource xielu_numbers() {
  return MapSource({{"a.alpha_p", at::tensor({0.3f})},
                    {"a.alpha_n", at::tensor({-0.2f})},
                    {"a.beta", at::tensor(0.5f)},
                    {"a.eps", at::tensor(-1e-6f)}});
}

TEST(Xielu, IsItsFormula) {
  const XieluForm form = load_xielu("a", xielu_numbers());
  at::Tensor x = at::tensor({-2.f, -0.5f, 0.f, 0.5f, 2.f});
  const at::Tensor before = x.clone();
  xielu_(x, form);
  const double p = std::log1p(std::exp(0.3)), n = 0.5 + std::log1p(std::exp(-0.2));
  for (int64_t i = 0; i < x.numel(); ++i) {
    const double v = before[i].item<double>();
    const double expected = v > 0 ? p * v * v + 0.5 * v : (std::expm1(std::min(v, -1e-6)) - v) * n + 0.5 * v;
    EXPECT_NEAR(x[i].item<double>(), expected, 8 * 0x1p-24 * (1 + std::abs(expected))) << v;
  }
}

TEST(Xielu, TakesSingleNumbers) {
  MapSource weights = xielu_numbers();
  weights.tensors["a.beta"] = at::zeros({2});
  try {
    load_xielu("a", weights);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::CorruptData);
    EXPECT_NE(std::string(e.what()).find("a.beta: a single number is expected, not 2"), std::string::npos) << e.what();
  }
}

// GPT-OSS: the gate is cut from above alone, up on both sides, and one is added to it.
TEST(Gating, LimitsAndShifts) {
  at::Tensor gate = at::tensor({-9.f, 1.f, 9.f});
  activate_gated_(gate, at::tensor({9.f, 0.5f, -9.f}), {graph::Activation::Identity, 7, 1});
  EXPECT_TRUE(at::equal(gate, at::tensor({-72.f, 1.5f, -42.f})));
}

}  // namespace
}  // namespace swage::model
