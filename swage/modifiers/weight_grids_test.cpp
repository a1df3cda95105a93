#include "swage/modifiers/weight_grids.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <array>

#include "swage/base/error.h"
#include "swage/modifiers/gptq.h"
#include "swage/modifiers/solver_glue.h"
#include "swage/scheme/presets.h"

namespace swage::modifiers {
namespace {

scheme::Scheme observed_by(const char* preset, const char* observer) {
  scheme::Scheme out = scheme::preset(preset);
  if (out.weights->strategy == scheme::Strategy::Group) out.weights->group_size = 32;
  if (observer != nullptr) out.weights->observer = observer;
  return out;
}

LinearTask task_of(const at::Tensor& w_OI, const scheme::Scheme& scheme) { return {"w", w_OI, at::kBFloat16, &scheme}; }

at::Tensor scale_of(const scheme::Scheme& scheme, const ScaleChoice& choice, const at::Tensor& w_OI,
                    const Statistics& statistics = {}) {
  const std::array tasks{task_of(w_OI, scheme)};
  return WeightGrids(tasks, choice, statistics).grid(0).scale_OG;
}

Statistics statistics_of(const at::Tensor& x_NI) { return {at::mm(x_NI.t(), x_NI).to(at::kDouble), x_NI.size(0)}; }

TEST(WeightGrids, TheSchemesObserverDecidesUnlessASearchWasAskedFor) {
  at::manual_seed(41);
  const at::Tensor w_OI = at::randn({6, 64});
  const ScaleChoice unset = scale_choice({}, "pnorm", 2.4, "test"),
                    asked = scale_choice("absmax", "pnorm", 2.4, "test");
  const scheme::Scheme plain = observed_by("W4A16", nullptr), mse = observed_by("W4A16", "mse"),
                       range = observed_by("W4A16", "minmax");
  const auto observer = observers::make_observer("memoryless_mse", *plain.weights, observers::Role::Weight);
  observer->observe(w_OI.to(at::kBFloat16));
  EXPECT_TRUE(scale_of(mse, unset, w_OI).equal(observer->scale_and_zero_point(at::kBFloat16).scale));
  const at::Tensor absmax = scale_of(plain, asked, w_OI);
  EXPECT_TRUE(scale_of(mse, asked, w_OI).equal(absmax));
  EXPECT_TRUE(scale_of(range, unset, w_OI).equal(absmax));
  EXPECT_FALSE(scale_of(mse, unset, w_OI).equal(absmax));
  EXPECT_FALSE(scale_of(plain, unset, w_OI).equal(absmax));  // pnorm
}

// Columns that nothing flows into do not count: their large weights may be clipped.
TEST(WeightGrids, ImportanceIsTheDiagonalOfTheGramMatrix) {
  at::manual_seed(42);
  at::Tensor w_OI = at::randn({4, 32}), x_NI = at::randn({50, 32});
  w_OI.select(1, 3).fill_(5);
  x_NI.select(1, 3).zero_();
  const scheme::Scheme scheme = observed_by("W4A16", "imatrix_mse");
  const ScaleChoice unset = scale_choice({}, "pnorm", 2.4, "test");
  const at::Tensor weighed = scale_of(scheme, unset, w_OI, statistics_of(x_NI));
  const at::Tensor absmax = scale_of(observed_by("W4A16", "minmax"), unset, w_OI);
  EXPECT_TRUE((weighed < absmax * 0.8).all().item<bool>());
  EXPECT_THROW(scale_of(scheme, unset, w_OI), Error);
}

// The same of the search that a quantizer makes; without inputs all columns count alike.
TEST(WeightGrids, TheSearchWeighsColumnsByTheirInputs) {
  at::manual_seed(44);
  at::Tensor w_OI = at::randn({4, 32}), x_NI = at::randn({50, 32});
  w_OI.select(1, 3).fill_(3);
  x_NI.select(1, 3).zero_();
  const scheme::Scheme scheme = observed_by("W4A16", nullptr);
  const ScaleChoice pnorm = scale_choice("pnorm", "absmax", 2.4, "test"),
                    imatrix = scale_choice("imatrix", "absmax", 2.4, "test");
  const at::Tensor plain = scale_of(scheme, pnorm, w_OI, statistics_of(x_NI));
  EXPECT_TRUE((scale_of(scheme, imatrix, w_OI, statistics_of(x_NI)) < plain).all().item<bool>());
  EXPECT_TRUE(scale_of(scheme, imatrix, w_OI).equal(plain));
  EXPECT_TRUE(scale_of(scheme, imatrix, w_OI, statistics_of(at::zeros({50, 32}))).equal(plain));
  EXPECT_TRUE(scale_of(scheme, imatrix, w_OI, statistics_of(at::eye(32))).equal(plain));
}

TEST(WeightGrids, TheUnsetNormGoesByTheSearchAndTheBits) {
  const auto norm = [](const char* search, const Json& given, int bits) {
    scheme::QuantizationArgs args;
    args.num_bits = bits;
    return scale_choice(search, "absmax", given, "test").search_for(args).norm;
  };
  EXPECT_EQ(norm("imatrix", {}, 4), 2);
  EXPECT_EQ(norm("imatrix", {}, 3), 2.4);
  EXPECT_EQ(norm("pnorm", {}, 4), 2.4);
  EXPECT_EQ(norm("imatrix", 3.0, 3), 3);
  EXPECT_EQ(norm("pnorm", 3.0, 4), 3);
  EXPECT_EQ(norm("pnorm", parse_json(R"({"8": 2, "3": 2.5})", "t"), 3), 2.5);
  EXPECT_EQ(norm("pnorm", parse_json(R"({"8": 2, "3": 2.5})", "t"), 4), 2);
  EXPECT_EQ(norm_of(scale_choice("imatrix", "absmax", {}, "test"), {2, 3, 4, 8}).dump(), R"({"3":2.4,"8":2})");
  EXPECT_EQ(norm_of(scale_choice("imatrix", "absmax", {}, "test"), {4, 8}).dump(), "2");
  EXPECT_TRUE(norm_of(scale_choice("absmax", "absmax", 3.0, "test"), {4}).is_null());
  EXPECT_THROW(norm("pnorm", parse_json(R"({"three": 2})", "t"), 4), Error);
  EXPECT_THROW(norm("pnorm", parse_json("{}", "t"), 4), Error);
}

TEST(WeightGrids, LinearsOfOneGlobalScaleTakeItFromTheLargestObservedRange) {
  at::manual_seed(43);
  const scheme::Scheme expanded = observed_by("NVFP4A16", "nvfp4_expanded_mse"),
                       plain = observed_by("NVFP4A16", nullptr);
  const at::Tensor small = at::randn({4, 32}), large = at::randn({4, 32}) * 3;
  const std::array tasks{task_of(small, expanded), task_of(large, plain)};
  const ScaleChoice unset = scale_choice({}, "absmax", 2.4, "test");
  const WeightGrids grids(tasks, unset, {});
  EXPECT_TRUE(
      grids.grid(0).global_scale.equal(solvers::global_scale_of(large.abs().max().item<double>(), at::kBFloat16)));
  EXPECT_TRUE(grids.grid(1).global_scale.equal(grids.grid(0).global_scale));
  const std::array alone{task_of(small, expanded)};
  const auto observer = observers::make_observer("", *expanded.weights, observers::Role::Weight);
  observer->observe(small.to(at::kBFloat16));
  EXPECT_TRUE(WeightGrids(alone, unset, {})
                  .grid(0)
                  .global_scale.equal(solvers::global_scale_of(observer->absmax(), at::kBFloat16)));
}

TEST(WeightGrids, ScaleChoicesAreNamedOrRefused) {
  EXPECT_FALSE(scale_choice({}, "pnorm", 2.4, "test").asked);
  EXPECT_TRUE(scale_choice("pnorm", "absmax", 2.4, "test").asked);
  EXPECT_THROW(scale_choice("best", "absmax", 2.4, "test"), Error);
  EXPECT_THROW(scale_choice("pnorm", "absmax", 0.5, "test"), Error);
}

TEST(WeightGrids, FieldsThatNeedInputs) {
  QuantizationFields fields;
  EXPECT_FALSE(names_importance_observer(fields));
  fields.config_groups =
      parse_json(R"({"group_0": {"targets": ["Linear"], "weights": {"observer": "imatrix_mse"}}})", "test");
  EXPECT_TRUE(names_importance_observer(fields));
  fields.weight_observer = "mse";
  EXPECT_FALSE(names_importance_observer(fields));
  fields.weight_observer.reset();
  fields.config_groups = Json();
  fields.observer = parse_json(R"({"weights": "imatrix_mse"})", "test");
  EXPECT_TRUE(names_importance_observer(fields));
}

// An order that the scheme spells out is the one solved with.
TEST(GptqModifier, TheSchemesActOrderCounts) {
  at::manual_seed(44);
  const at::Tensor w_OI = at::randn({8, 64}), x_NI = at::randn({100, 64}) * at::linspace(0.1, 3, 64);
  const Gptq modifier(GptqConfig(), "test");
  EXPECT_FALSE(modifier.insists_on_actorder());
  std::vector<SolvedLinear> solved;
  for (const char* order : {"static", "weight", "group"}) {
    scheme::Scheme scheme = observed_by("W4A16", nullptr);
    scheme.weights->actorder = order;
    const std::array tasks{task_of(w_OI, scheme)};
    solved.push_back(modifier.quantize(tasks, statistics_of(x_NI))[0]);
  }
  EXPECT_TRUE(solved[0].weight.codes_OI.equal(solved[1].weight.codes_OI));
  EXPECT_FALSE(solved[0].weight.g_idx_I.defined());
  EXPECT_TRUE(solved[2].weight.g_idx_I.defined());
}

}  // namespace
}  // namespace swage::modifiers
