#include "swage/schedule/float_pass.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "swage/job/steps.h"
#include "swage/schedule/bit_sensitivity.h"
#include "swage/schedule/owl.h"
#include "swage/schedule/planned_test_support.h"

namespace swage::pipeline {
namespace {

constexpr const char* kBudget =
    R"({"target_bits": 6, "group_size": 8, "candidates": ["W4A16", "W8A16"], "ignore": ["lm_head"]})";
constexpr const char* kOwl =
    R"({"sparsity": 0.5, "sparsity_profile": "owl", "owl_m": 3, "owl_lmbda": 0.01, "ignore": ["lm_head"]})";

int64_t measuring(const FloatSection& section) {
  return std::count_if(section.actions.begin(), section.actions.end(),
                       [](const FloatActionPtr& action) { return action->solves(); });
}

// Of a layer: what enters each stage, what each input group gives, and the probes. An interrupted pass leaves these out
// where an earlier one reached: then a layer is entered, stepped through and left.
TEST(FloatPass, EachInputGroupIsMeasuredOnce) {
  for (const char* name : {"llama32_tied", "mixtral", "opt"}) {
    const Planned planned(name, "gptq", kBudget);
    const FloatSchedule schedule = bit_schedule(planned.input);
    const size_t blocks = planned.shape.blocks.size();
    ASSERT_EQ(schedule.size(), blocks + 2) << name;  // embedding before, predictions after
    for (size_t b = 0; b < blocks; ++b) {
      const std::vector<model::Stage>& stages = planned.shape.blocks[b].stages;
      int64_t groups = 0;
      for (const model::Stage& stage : stages) groups += int64_t(stage.groups.size());
      const FloatSection& layer = schedule[b + 1];
      EXPECT_EQ(layer.block, int64_t(b));
      EXPECT_EQ(layer.step, block_step(int64_t(b)));
      EXPECT_EQ(measuring(layer), groups + int64_t(stages.size()) + 1) << name;
      const int64_t steps = int64_t(stages.size()) - (b + 1 == blocks ? 1 : 0);
      EXPECT_EQ(int64_t(layer.actions.size()) - measuring(layer), 2 + steps) << name;
    }
  }
}

TEST(FloatPass, OwlMeasuresStagesThatArePruned) {
  const Planned planned("llama32_tied", "wanda", kOwl);
  ASSERT_TRUE(needs_owl(planned.sparsity));
  const FloatSchedule schedule = owl_schedule(planned.input, *planned.chain.sparsifiers[0]);
  const size_t blocks = planned.shape.blocks.size();
  ASSERT_EQ(schedule.size(), blocks + 1);
  for (size_t b = 0; b < blocks; ++b) {
    const size_t stages = planned.shape.blocks[b].stages.size();
    EXPECT_EQ(schedule[b + 1].actions.size(), 3 + 2 * stages - (b + 1 == blocks ? 1 : 0));
  }
  const Planned none("llama32_tied", "wanda", R"({"sparsity": 0.5, "ignore": ["lm_head"]})");
  EXPECT_FALSE(needs_owl(none.sparsity));
  EXPECT_EQ(plan_owl(none.input).host_bytes(), 0u);
}

// The float model runs, whatever the recipe makes of it: nothing is multiplied as integers, no second stream. What is
// probed goes on to the end, activations do not.
TEST(FloatPass, TheFloatModelIsPlanned) {
  const Planned planned("llama32_tied", "gptq",
                        R"({"target_bits": 6, "group_size": 8, "candidates": ["W4A16", "W8A16"],
                            "ignore": ["lm_head"], "quality": "best"})");
  PassCosts costs(planned.input, Runs::Float);
  EXPECT_FALSE(costs.corrects());
  add_costs(bit_schedule(planned.input), costs);
  EXPECT_EQ(costs.work().integer_flops, 0);
  const size_t last = costs.ledger.declared().size() - 1;
  for (const Ledger::Lifetime& life : costs.ledger.lifetimes()) {
    EXPECT_NE(life.buffer, Buffer::FloatWeights);
    if (life.buffer == Buffer::Activations) {
      EXPECT_EQ(life.last, last);  // given back by the last action, before it predicts
    }
    if (life.buffer == Buffer::Probes) {
      EXPECT_EQ(life.first, 0u);
    }
  }
  EXPECT_EQ(costs.ledger.held(Buffer::Activations), 0);
  // Four units a layer, and the float model: 4 rows of 32 tokens.
  const double probes = 4 * double(planned.shape.blocks.size()) + 1;
  EXPECT_EQ(costs.ledger.held(Buffer::Probes), probes * 4 * 32 * double(planned.shape.hidden_size) * kFloat);
}

TEST(FloatPass, FewRowsAreMeasured) {
  const Planned planned("llama32_tied", "gptq", kBudget);
  PlanInput many = planned.input;
  many.rows = 512;
  many.row_tokens = 2048;
  EXPECT_EQ(measured_part(many).rows, 8);  // 16384 tokens
  many.row_tokens = 32768;
  EXPECT_EQ(measured_part(many).rows, 1);
  EXPECT_EQ(measured_part(planned.input).rows, planned.input.rows);
}

}  // namespace
}  // namespace swage::pipeline
