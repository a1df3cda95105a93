// Scales of SmoothQuant and AWQ against their formulas, written out column by column, and AWQ's choice against an error
// measured on the inputs themselves.
#include "swage/modifiers/rescaler.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "swage/base/error.h"
#include "swage/modifiers/awq.h"
#include "swage/modifiers/smooth_quant.h"
#include "swage/scheme/presets.h"

namespace swage::modifiers {
namespace {

// Two consumers of one input with a few large columns.
struct Problem {
  scheme::Scheme scheme = scheme::with_group_size(scheme::preset("W4A16"), 16);
  at::Tensor x_TI, first_OI, second_OI;
  RescaleTask task;

  Problem() {
    at::manual_seed(5);
    x_TI = at::randn({200, 32}) * at::exp(at::randn({32}));
    first_OI = at::randn({24, 32}) * 0.1;
    second_OI = at::randn({8, 32}) * 0.2;
    task.consumers = {{"first", first_OI, at::kFloat, &scheme}, {"second", second_OI, at::kFloat, &scheme}};
    task.columns = {x_TI.amin({0}), x_TI.amax({0}), x_TI.abs().mean(0)};
    task.statistics = {x_TI.to(at::kDouble).t().mm(x_TI.to(at::kDouble)), 200};
  }
};

TEST(SmoothQuant, ScalesFollowTheFormula) {
  const Problem p;
  SmoothQuantConfig config;
  config.smoothing_strength = 0.7;
  const at::Tensor s_I = SmoothQuant(config, "test").scales(p.task);
  for (int64_t i = 0; i < 32; ++i) {
    double low = 1e30, high = -1e30, weight = 0;
    for (int64_t t = 0; t < 200; ++t) {
      low = std::min(low, p.x_TI[t][i].item<double>());
      high = std::max(high, p.x_TI[t][i].item<double>());
    }
    for (const at::Tensor& w_OI : {p.first_OI, p.second_OI})
      weight = std::max(weight, w_OI.select(1, i).abs().max().item<double>());
    const double want = std::pow(high - low, 0.7) / std::pow(2 * weight, 1 - 0.7);
    EXPECT_NEAR(s_I[i].item<double>(), want, 1e-5 * want);  // two powers and a division in f32
  }
}

TEST(SmoothQuant, ColumnsWithoutWeightOrInputStayFinite) {
  Problem p;
  p.first_OI.select(1, 3).zero_();
  p.second_OI.select(1, 3).zero_();
  p.task.columns.low_I[5] = 0;
  p.task.columns.high_I[5] = 0;
  const at::Tensor s_I = SmoothQuant(SmoothQuantConfig{}, "test").scales(p.task);
  EXPECT_FLOAT_EQ(s_I[3].item<float>(), (p.task.columns.high_I[3] - p.task.columns.low_I[3]).item<float>());
  EXPECT_FLOAT_EQ(s_I[5].item<float>(), 1e-5f);
  SmoothQuantConfig log;
  log.algorithm = "log_equalization";
  const double a = (p.task.columns.high_I[0] - p.task.columns.low_I[0]).item<double>();
  EXPECT_NEAR(SmoothQuant(log, "test").scales(p.task)[0].item<double>(), a / std::log2(2 + a), 1e-5);
}

// Symmetric 4 bits in groups of 16 as the scheme means them: absmax / 7.5, ties to even.
at::Tensor rounded(const at::Tensor& w_OI) {
  const at::Tensor w_OGK = w_OI.view({w_OI.size(0), -1, 16});
  const at::Tensor scale = w_OGK.abs().amax({2}, true) / 7.5;
  return (w_OGK.div(scale).round().clamp(-8, 7) * scale).view(w_OI.sizes());
}

double output_error(const Problem& p, const at::Tensor& s_I) {
  double sum = 0;
  for (const at::Tensor& w_OI : {p.first_OI, p.second_OI}) {
    const at::Tensor change_OI = rounded(w_OI * s_I) / s_I - w_OI;
    sum += p.x_TI.mm(change_OI.t()).square().sum(at::kDouble).item<double>();
  }
  return sum;
}

TEST(Awq, PicksTheCandidateWithTheLeastOutputError) {
  const Problem p;
  for (const bool duo : {true, false}) {
    AwqConfig config;
    config.duo_scaling = duo;
    const at::Tensor s_I = Awq(config, "test").scales(p.task);
    double least = output_error(p, at::ones({32}));
    const at::Tensor shares = at::cat({p.first_OI, p.second_OI}).abs().view({32, 2, 16});
    const at::Tensor w_I =
        shares.div(shares.amax({2}, true) + 1e-6).view({32, 32}).to(at::kDouble).mean(0).to(at::kFloat);
    for (int i = 0; i < 20; ++i) {
      const double r = i / 19.0;
      at::Tensor tried_I =
          duo ? p.task.columns.mean_abs_I.pow(r) / (w_I.pow(1 - r) + 1e-4) : p.task.columns.mean_abs_I.pow(r);
      tried_I = tried_I.clamp_min(1e-4);
      least = std::min(least, output_error(p, tried_I / (tried_I.max() * tried_I.min()).sqrt()));
    }
    EXPECT_NEAR(output_error(p, s_I), least, 1e-4 * least);  // near ties may go either way
    EXPECT_LT(least, output_error(p, at::ones({32})));
  }
}

// The module above squares the first consumer's outputs and does not look at the second's.
TEST(Awq, PicksByTheOutputOfTheModuleAbove) {
  Problem p;
  const at::Tensor out_TO = p.x_TI.mm(p.first_OI.t()).square();
  int calls = 0;
  double least = 1e30, first = 0;
  p.task.output_error = [&](const std::vector<at::Tensor>& weights_OI) {
    const double error = p.x_TI.mm(weights_OI[0].t()).square_().sub_(out_TO).square().sum(at::kDouble).item<double>();
    if (calls++ == 0) first = error;
    least = std::min(least, error);
    return error;
  };
  AwqConfig config;
  config.objective = "parent";
  const Awq awq(config, "test");
  const at::Tensor s_I = awq.scales(p.task);
  EXPECT_EQ(calls, awq.outputs_tried());
  EXPECT_LT(least, first) << "some scales must be better than none";
  const double found =
      p.x_TI.mm((rounded(p.first_OI * s_I) / s_I).t()).square_().sub_(out_TO).square().sum(at::kDouble).item<double>();
  EXPECT_NEAR(found, least, 1e-3 * least);  // rounding in f32: a code on the edge of two
  p.task.output_error = {};
  EXPECT_FALSE(awq.scales(p.task).allclose(s_I)) << "the Gram matrix judges both consumers";
}

TEST(Rescaler, RepeatsShareOneNumber) {
  const at::Tensor s_I = at::tensor({1.0f, 2.0f, 4.0f, 8.0f, 3.0f, 3.0f, 27.0f, 3.0f});  // runs of 2, each read twice
  EXPECT_TRUE(share_over_repeats(s_I, 2, 2).allclose(at::tensor({2.0f, 4.0f, 2.0f, 4.0f, 9.0f, 3.0f, 9.0f, 3.0f})));
  EXPECT_TRUE(share_over_repeats(s_I, 1, 1).equal(s_I));
}

TEST(Rescaler, MappingsComeAsPairsOrObjects) {
  const std::vector<Mapping> mappings = parse_mappings(
      parse_json(R"([[["re:.*q_proj", "re:.*k_proj"], "re:.*norm"], {"smooth_layer": "v", "balance_layers": ["o"]}])",
                 "test"),
      "test");
  ASSERT_EQ(mappings.size(), 2u);
  EXPECT_EQ(mappings[0].smooth, "re:.*norm");
  EXPECT_EQ(mappings[0].balance, (std::vector<std::string>{"re:.*q_proj", "re:.*k_proj"}));
  EXPECT_EQ(mappings[1].smooth, "v");
  for (const char* bad : {"{}", "[]", "[1]", "[[\"a\"]]", "[[[\"a\"], [\"b\", \"c\"]]]", "[[[1], \"b\"]]",
                          "[{\"smooth_layer\": \"a\"}]"}) {
    EXPECT_THROW(parse_mappings(parse_json(bad, "test"), "test"), Error) << bad;
  }
}

}  // namespace
}  // namespace swage::modifiers
