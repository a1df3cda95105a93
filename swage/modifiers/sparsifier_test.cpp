// The modifiers that prune: what they read from recipes, and what comes out of small problems.
#include "swage/modifiers/sparsifier.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"
#include "swage/modifiers/chain.h"
#include "swage/modifiers/solver_glue.h"
#include "swage/scheme/presets.h"

namespace swage::modifiers {
namespace {

std::unique_ptr<Modifier> make(const std::string& name, const std::string& fields) {
  return make_modifier(name, parse_json(fields, "fields"), "recipe");
}

struct PruningProblem {
  at::Tensor w_OI;
  Statistics statistics;
};

PruningProblem problem() {
  at::manual_seed(11);
  const at::Tensor x_TI = at::mm(at::randn({200, 48}), at::randn({48, 48}) * 0.2 + at::eye(48));
  return {at::randn({40, 48}), {at::mm(x_TI.t(), x_TI).to(at::kDouble), 200}};
}

SparsifiedLinear run(const std::string& name, const std::string& fields, const PruningProblem& p,
                     bool with_statistics = true) {
  const std::unique_ptr<Modifier> modifier = make(name, fields);
  const auto& sparsifier = dynamic_cast<const Sparsifier&>(*modifier);
  const LinearTask task{"linear", p.w_OI, at::kFloat};
  return sparsifier.sparsify({&task, 1}, with_statistics ? p.statistics : Statistics(), sparsifier.rules().pattern)[0];
}

TEST(Sparsifier, ReadsLlmCompressorsFields) {
  const auto modifier = make(
      "SparseGPTModifier",
      R"({"sparsity": 0.5, "mask_structure": "2:4", "sequential_update": true, "targets": ["Linear"], "ignore": ["re:.*lm_head"],
    "block_size": 64, "dampening_frac": 0.001, "preserve_sparsity_mask": false, "sparsity_profile": null, "owl_m": null, "owl_lmbda": null})");
  const SparsityRules& rules = dynamic_cast<const Sparsifier&>(*modifier).rules();
  EXPECT_EQ(rules.pattern.dropped, 2);
  EXPECT_EQ(rules.pattern.group, 4);
  EXPECT_EQ(rules.ignore[0], "re:.*lm_head");
  EXPECT_EQ(describe(rules.pattern), "2:4");
  EXPECT_EQ(describe({0.625}), "62.5%");
  const auto magnitude =
      make("MagnitudePruningModifier",
           R"({"targets": ["Linear"], "init_sparsity": 0.3, "final_sparsity": 0.8, "mask_structure": "unstructured"})");
  EXPECT_EQ(dynamic_cast<const Sparsifier&>(*magnitude).rules().pattern.sparsity, 0.3);
  const auto list = make("WandaPruningModifier", R"({"sparsity": [0.25, 0.75]})");
  EXPECT_EQ(dynamic_cast<const Sparsifier&>(*list).rules().of_modules, (std::vector<double>{0.25, 0.75}));
  const auto again = make("sparsegpt", modifier->config().dump());
  EXPECT_EQ(again->config().dump(), modifier->config().dump());
}

TEST(Sparsifier, RefusesWhatMakesNoSense) {
  for (const char* fields :
       {"{}", R"({"sparsity": 1.0})", R"({"sparsity": "much"})", R"({"sparsity": 0.3, "mask_structure": "2:4"})",
        R"({"mask_structure": "4:4"})", R"({"mask_structure": "24"})", R"({"mask_structure": "24:48"})",
        R"({"sparsity": 0.5, "sparsity_profile": "owl"})", R"({"sparsity": 0.5, "owl_m": 5})",
        R"({"sparsity": 0.5, "sparsity_profile": "cat", "owl_m": 5, "owl_lmbda": 0.1})",
        R"({"mask_structure": "2:4", "sparsity_profile": "owl", "owl_m": 5, "owl_lmbda": 0.1})",
        R"({"sparsity": 0.5, "dampening_frac": 2})", R"({"sparsity": 0.5, "block_size": 12})",
        R"({"sparsity": 0.5, "sweeps": -1})"}) {
    EXPECT_THROW(make("SparseGPTModifier", fields), Error) << fields;
  }
  EXPECT_THROW(make("WandaPruningModifier", R"({"sparsity": 0.5, "sweeps": 101})"), Error);
  EXPECT_THROW(make("MagnitudePruningModifier", R"({"sparsity": 0.5, "apply_globally": true})"), Error);
  std::vector<std::unique_ptr<Modifier>> wrong;
  wrong.push_back(make("gptq", R"({"scheme": "W4A16"})"));
  wrong.push_back(make("wanda", R"({"sparsity": 0.5})"));
  ASSERT_EQ(make_chain(wrong).warnings.size(), 1u);
  EXPECT_EQ(make_chain(wrong).warnings[0].rfind("WandaPruningModifier stands behind GPTQModifier", 0), 0u);
  std::swap(wrong[0], wrong[1]);
  EXPECT_TRUE(make_chain(wrong).warnings.empty());
  EXPECT_EQ(make_chain(wrong).calibrating()->name(), "WandaPruningModifier");
}

TEST(Sparsifier, PrunesAsFarAsAskedAndReportsTheError) {
  const PruningProblem p = problem();
  for (const char* name : {"sparsegpt", "wanda", "magnitude"}) {
    for (const auto& [fields, share] :
         {std::pair{R"({"sparsity": 0.25})", 0.25}, {R"({"mask_structure": "2:4"})", 0.5}}) {
      const SparsifiedLinear out = run(name, fields, p);
      const double zeros = double(out.weight_OI.eq(0).sum().item<int64_t>()) / double(p.w_OI.numel());
      EXPECT_NEAR(zeros, share, 1e-3) << name;  // SparseGPT drops one more in a block, as LLM Compressor does
      EXPECT_DOUBLE_EQ(out.sparsity, zeros);
      const at::Tensor gram_II = p.statistics.gram_II.to(at::kFloat);
      const double error = quadratic_form(p.w_OI - out.weight_OI, gram_II);
      EXPECT_NEAR(out.loss, error / 200, 1e-3 * error / 200) << name;
      EXPECT_NEAR(out.relative_error, std::sqrt(error / quadratic_form(p.w_OI, gram_II)), 1e-3) << name;
    }
  }
}

// Each of the steps that SparseGPT has beyond Wanda pays.
TEST(Sparsifier, EachStepLowersTheError) {
  const PruningProblem p = problem();
  const double magnitude = run("magnitude", R"({"mask_structure": "2:4"})", p).loss,
               wanda = run("wanda", R"({"mask_structure": "2:4"})", p).loss;
  const double plain = run("sparsegpt", R"({"mask_structure": "2:4", "sweeps": 0})", p).loss;
  const double refitted = run("sparsegpt", R"({"mask_structure": "2:4", "swap_supports": false})", p).loss;
  const double swapped = run("sparsegpt", R"({"mask_structure": "2:4"})", p).loss;
  EXPECT_LT(plain, wanda);
  EXPECT_LT(wanda, magnitude);
  EXPECT_LT(refitted, plain);
  EXPECT_LT(swapped, refitted);
  EXPECT_LT(run("wanda", R"({"mask_structure": "2:4", "sweeps": 4})", p).loss, wanda);
}

TEST(Sparsifier, ConstantPruningChangesNothing) {
  PruningProblem p = problem();
  p.w_OI.mul_(at::rand_like(p.w_OI).gt(0.4));
  const SparsifiedLinear out = run("constant", "{}", p, /*with_statistics=*/false);
  EXPECT_TRUE(out.weight_OI.equal(p.w_OI));
  EXPECT_EQ(out.loss, 0);
  const SparsifiedLinear without = run("magnitude", R"({"sparsity": 0.7})", p, /*with_statistics=*/false);
  EXPECT_NEAR(without.loss, (p.w_OI - without.weight_OI).square().sum().item<double>(), 1e-3);
}

// A pruned weight keeps its zeros through both quantizers.
TEST(Sparsifier, QuantizersKeepTheZeros) {
  const PruningProblem p = problem();
  const at::Tensor pruned_OI = run("sparsegpt", R"({"mask_structure": "2:4"})", p).weight_OI;
  for (const char* name : {"gptq", "rtn"}) {
    for (const bool symmetric : {true, false}) {
      const std::unique_ptr<Modifier> modifier = make(name, R"({"scheme": "W4A16"})");
      const auto& quantizer = dynamic_cast<const Quantizer&>(*modifier);
      scheme::Scheme scheme = scheme::with_group_size(scheme::preset("W4A16"), 16);
      scheme.weights->symmetric = symmetric;
      LinearTask task{"linear", pruned_OI, at::kFloat, &scheme};
      task.keep_zeros = true;
      const at::Tensor values_OI = format::dequantize(quantizer.quantize({&task, 1}, p.statistics)[0].weight);
      EXPECT_TRUE(values_OI.index({pruned_OI.eq(0)}).eq(0).all().item<bool>()) << name << " " << symmetric;
      EXPECT_LT((values_OI - pruned_OI).abs().mean().item<double>(), 0.2) << name;
    }
  }
}

}  // namespace
}  // namespace swage::modifiers
