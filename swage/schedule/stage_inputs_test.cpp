// The statistics that a stage is solved with, against sums over the inputs themselves.
#include "swage/schedule/stage_inputs.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "swage/resolve/activation_scales.h"
#include "swage/schedule/stopped_test_support.h"
#include "swage/scheme/presets.h"

namespace swage::pipeline {
namespace {

// x on the grid of 8-bit integers with one scale a token, by the formula: the largest |x| of the row falls on 127.5.
at::Tensor int8_by_token(const at::Tensor& x_TI) {
  const at::Tensor scale_T1 = x_TI.abs().amax({1}, true) / 127.5;
  return (x_TI / scale_T1).round().clamp(-128, 127) * scale_T1;
}

at::Tensor gram_of(const std::vector<at::Tensor>& inputs) {
  const at::Tensor x_TI = at::cat(inputs).to(at::kDouble);
  return x_TI.t().mm(x_TI);
}

// Columns are rounded to steps of at most 2^-14 of their norms, so that an entry is off by some sqrt(2 / 12) 2^-14 of
// the product of two norms, and the matrix by that times its trace over its Frobenius norm: 4 at most here.
constexpr double kFixedPoint = 1e-4;
double distance(const at::Tensor& a, const at::Tensor& b) { return ((a - b).norm() / b.norm()).item<double>(); }

TEST(InputStatistics, AreThoseOfTheInputsAsTheLinearsWillSeeThem) {
  Stopped stopped("llama32_tied", 0);
  std::vector<at::Tensor> plain, rounded;
  at::Tensor scratch;
  for (const model::Flow& flow : stopped.activations->flows()) {
    plain.push_back(flow.input_TI);
    rounded.push_back(int8_by_token(flow.input_TI));
  }
  const scheme::QuantizationArgs args = *scheme::preset("W8A8").input_activations;
  const model::ActivationQuantization by_token = input_quantization(args, nullptr, at::kFloat);
  const modifiers::Statistics seen =
      input_statistics(*stopped.activations, stopped.columns(), -1, {.quantization = by_token}, scratch);
  const modifiers::Statistics float_seen = input_statistics(*stopped.activations, stopped.columns(), -1, {}, scratch);
  EXPECT_EQ(seen.tokens, 4 * 24);
  EXPECT_LT(distance(seen.gram_II, gram_of(rounded)), kFixedPoint);
  EXPECT_LT(distance(float_seen.gram_II, gram_of(plain)), kFixedPoint);
  EXPECT_GT(distance(seen.gram_II, float_seen.gram_II), 1e-4) << "rounding to 8 bits must show";
}

TEST(InputStatistics, OfAnExpertAreThoseOfItsTokens) {
  Stopped stopped("mixtral", 2);
  int64_t tokens = 0;
  at::Tensor scratch;
  for (int expert = 0; expert < 2; ++expert) {
    std::vector<at::Tensor> routed;
    for (const model::Flow& flow : stopped.activations->flows()) {
      const at::Tensor chosen_T = flow.expert_ids_TK.eq(expert).any(1);
      routed.push_back(flow.input_TI.index_select(0, chosen_T.nonzero().squeeze(1)));
    }
    const modifiers::Statistics seen = input_statistics(*stopped.activations, stopped.columns(), expert, {}, scratch);
    EXPECT_EQ(seen.tokens, at::cat(routed).size(0));
    EXPECT_LT(distance(seen.gram_II, gram_of(routed)), kFixedPoint);
    tokens += seen.tokens;
  }
  EXPECT_GT(tokens, 0);
}

}  // namespace
}  // namespace swage::pipeline
