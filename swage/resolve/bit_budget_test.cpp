#include "swage/resolve/bit_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <set>

#include "swage/base/error.h"
#include "swage/modifiers/modifier.h"
#include "swage/report/html_budget.h"
#include "swage/resolve/bit_candidates.h"

namespace swage::pipeline {
namespace {

// Two layers, the second one with two experts, and a recipe with a budget.
class Budget {
 public:
  explicit Budget(const std::string& fields) {
    recipe.push_back(modifiers::make_modifier("gptq", parse_json(fields, "fields"), "test"));
    assignment = assign_schemes(modifiers::make_chain(recipe), modules(), false, "");
    units = budget_units(assignment, modules(), [](const model::ModuleInfo&) { return io::Dtype::BF16; });
  }

  static std::vector<model::ModuleInfo> modules() {
    std::vector<model::ModuleInfo> out;
    for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"})
      out.push_back({cat("model.layers.0.self_attn.", name), "Linear", 64, 128, 0});
    for (const char* name : {"gate_proj", "up_proj", "down_proj"})
      out.push_back({cat("model.layers.0.mlp.", name), "Linear", 128, 128, 0});
    for (const int expert : {0, 1}) {
      for (const char* name : {"w1", "w2", "w3"}) {
        out.push_back({cat("model.layers.1.mlp.experts.", expert, ".", name), "Linear", 64, 64, 1});
        out.back().expert = expert;
      }
    }
    return out;
  }

  BudgetOutcome choose(const BudgetCosts& costs, const OutputBytes& output = {}) {
    return keep_to_budget(units, costs, output, assignment);
  }
  int64_t bytes() const {
    int64_t sum = 0;
    for (const BudgetUnit& unit : units) sum += unit.bytes[assignment.scheme_of.at(unit.modules[0])];
    return sum;
  }
  std::string refused(const OutputBytes& output = {}) {
    try {
      choose(costs_of_shapes(assignment, units), output);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::InvalidArgument);
      return e.what();
    }
    return "nothing";
  }

  std::vector<std::unique_ptr<modifiers::Modifier>> recipe;
  Assignment assignment;
  std::vector<BudgetUnit> units;
};

constexpr const char* kFields = R"({"target_bits": 5.0, "group_size": 64, "candidates": ["W3A16", "W4A16", "W8A16"]})";

TEST(BitBudget, FusedSetsAndTheExpertsOfALayerAreOneUnit) {
  const Budget budget(kFields);
  std::vector<std::string> names;
  for (const BudgetUnit& unit : budget.units) names.push_back(unit.name);
  EXPECT_THAT(names, testing::ElementsAre("model.layers.0.self_attn.qkv", "model.layers.0.self_attn.o_proj",
                                          "model.layers.0.mlp.gate_up", "model.layers.0.mlp.down_proj",
                                          "model.layers.1.mlp.experts"));
  EXPECT_EQ(budget.units[0].parameters, 3 * 64 * 128);
  EXPECT_EQ(budget.units[4].modules.size(), 6u);
  EXPECT_EQ(budget.units[4].block, 1);
}

// 4 bits, a bf16 scale for 64 weights, 16 bytes of shape for each module; 3 bits are stored in rows of whole 32-bit
// words.
TEST(BitBudget, BytesAreThoseThatAreStored) {
  const Budget budget(kFields);
  EXPECT_THAT(budget.units[1].bytes, testing::ElementsAre(64 * 128 * 3 / 8 + 64 * 2 * 2 + 16,
                                                          64 * 128 / 2 + 64 * 2 * 2 + 16, 64 * 128 + 64 * 2 * 2 + 16));
}

TEST(BitBudget, TheChoiceKeepsToTheBudgetAndNamesItsModules) {
  Budget budget(kFields);
  BudgetCosts costs(5, {4, 1, 0.01});
  costs[3] = {400, 100, 1};
  const BudgetOutcome outcome = budget.choose(costs);
  EXPECT_EQ(outcome.allocation.chosen[3], 2);  // the one that matters most
  EXPECT_LE(outcome.bits_per_weight, 5.0);
  EXPECT_EQ(outcome.allocation.bytes, budget.bytes());
  std::set<std::string> targets;
  size_t count = 0;
  for (size_t c = 0; c < 3; ++c) {
    for (const std::string& module : budget.assignment.schemes[c].targets) {
      EXPECT_EQ(budget.assignment.scheme_of.at(module), c);
      targets.insert(module);
      ++count;
    }
  }
  EXPECT_EQ(count, Budget::modules().size());
  EXPECT_EQ(targets.size(), count);
}

TEST(BitBudget, ATargetBeyondWhatCanBeReachedNamesTheReach) {
  EXPECT_THAT(
      Budget(R"({"target_bits": 3.2, "group_size": 64})").refused(),
      testing::HasSubstr(
          "target_bits 3.2: with W3A16 g64, W4A16 g64, W5A16 g64, W6A16 g64, W8A16 g64 these modules take from 3.26"));
  EXPECT_THAT(Budget(R"({"target_bits": 8.5, "group_size": 64})").refused(), testing::HasSubstr("to 8.26"));
  const auto output = [](const Assignment&) { return uint64_t(200000); };
  EXPECT_THAT(Budget(R"({"target_size": "100KB", "group_size": 64})").refused(output),
              testing::HasSubstr("target_size 100KB"));
  EXPECT_THAT(Budget(R"({"target_size": "1MB", "group_size": 64})").refused(output), testing::HasSubstr("bytes"));
  EXPECT_THAT(Budget(R"({"target_size": "big", "group_size": 64})").refused(output), testing::HasSubstr("target_size"));
}

// What headers take is known once a choice is made: 7 bytes more for each module that has 8 bits here.
TEST(BitBudget, ASizeCountsEverythingThatIsWritten) {
  for (const int64_t target : {160000, 170000, 190000}) {
    Budget budget(cat(R"({"group_size": 64, "target_size": ")", target, "\"}"));
    const auto output = [&](const Assignment& assignment) {
      int64_t sum = 100000;
      for (const BudgetUnit& unit : budget.units) {
        const size_t candidate = assignment.scheme_of.at(unit.modules[0]);
        sum += unit.bytes[candidate] + (candidate == 2 ? 7 * int64_t(unit.modules.size()) : 0);
      }
      return uint64_t(sum);
    };
    budget.choose(costs_of_shapes(budget.assignment, budget.units), output);
    EXPECT_LE(int64_t(output(budget.assignment)), target);
    EXPECT_GT(int64_t(output(budget.assignment)), target - 16384);
  }
}

TEST(BitBudget, TheProbedCandidateIsTheOneNearestToTheBudget) {
  const Budget budget(kFields);
  int64_t parameters = 0;
  for (const BudgetUnit& unit : budget.units) parameters += unit.parameters;
  EXPECT_EQ(probed_candidate(budget.units, parameters * 3 / 8), 0u);
  EXPECT_EQ(probed_candidate(budget.units, parameters * 45 / 80), 1u);
  EXPECT_EQ(probed_candidate(budget.units, parameters), 2u);
}

TEST(BitBudget, TheReportHasEveryUnitAndItsChartsAreDrawn) {
  Budget budget(kFields);
  const BudgetCosts costs(5, {0.4, 0.1, 0.001});
  const BudgetOutcome outcome = budget.choose(costs);
  const Json report = budget_report(budget.assignment, budget.units, costs, outcome);
  EXPECT_EQ(report.at("units").as_array().size(), 5u);
  EXPECT_EQ(report.at("target_bits").as_double(), 5.0);
  EXPECT_NEAR(report.at("uniform").as_array()[1].at("predicted_loss").as_double(), 0.5, 1e-12);
  EXPECT_LE(report.at("lower_bound").as_double(), report.at("predicted_loss").as_double());
  const std::string page = html::budget_part(report);
  for (const char* part : {"self_attn.qkv: ", "mlp.experts: ", "W8A16 g64 everywhere", "chosen", "bits a weight"})
    EXPECT_THAT(page, testing::HasSubstr(part));
  EXPECT_THAT(budget_summary(budget.assignment, outcome), testing::StartsWith("bit budget: "));
}

TEST(BitBudget, CostsAreKeptBitForBitAndRefusedWhereTheyDoNotFit) {
  const Budget budget(kFields);
  const BudgetCosts costs = {{0.1, 1e-300, 3}, {1.0 / 3, 2e17, 0}, {5e-324, 1, 1}, {1, 2, 3}, {4, 5, 6}};
  EXPECT_EQ(costs_from_json(parse_json(to_json(costs).dump(), "costs"), budget.units), costs);
  const auto refused = [&](const char* text, const char* message) {
    try {
      costs_from_json(parse_json(text, "costs"), budget.units);
      ADD_FAILURE() << text;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::CorruptData);
      EXPECT_THAT(e.what(), testing::HasSubstr(message));
    }
  };
  refused("[[1, 2, 3], [1, 2]]", "bit costs: unit 1 has 2 of them, which is not what the recipe has candidates for");
  refused("[[1, 2, 3]]", "bit costs: of 1 units, but the model has 5");
}

TEST(BitCandidates, RefusesWhatMakesNoSense) {
  const auto refused = [](const std::string& fields, const std::string& message) {
    try {
      Budget budget(fields);
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), testing::HasSubstr(message));
      return;
    }
    ADD_FAILURE() << fields << " was accepted";
  };
  refused(R"({"target_bits": 4, "target_size": "1GB"})", "not both");
  refused(R"({"target_bits": 4, "scheme": "W4A16"})", "a budget chooses the schemes");
  refused(R"({"target_bits": 0})", "expected a positive number");
  refused(R"({"target_bits": 4, "candidates": ["W4A16"]})", "two schemes or more");
  refused(R"({"target_bits": 4, "candidates": ["W4A16", "w4a16"]})", "there twice");
  refused(R"({"target_bits": 4, "candidates": ["W4A16", "FP8"]})", "quantizes activations");
  refused(R"({"target_bits": 4, "candidates": ["W4A16", "UNQUANTIZED"]})", "leaves weights as they are");
  refused(R"({"scheme": "W4A16", "candidates": ["W4A16", "W8A16"]})", "candidates is for a budget");
  refused(R"({"target_bits": 4, "group_size": 48})", "does not divide");
}

TEST(BitCandidates, GroupSizesAreForIntegers) {
  const Budget budget(R"({"target_bits": 5, "group_size": 32, "candidates": ["NVFP4A16", "W4A16", "W8A16"]})");
  EXPECT_EQ(*budget.assignment.schemes[0].weights->group_size, 16);
  EXPECT_EQ(*budget.assignment.schemes[1].weights->group_size, 32);
}

}  // namespace
}  // namespace swage::pipeline
