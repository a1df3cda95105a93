#include "swage/schedule/calibrated_schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "swage/job/steps.h"
#include "swage/schedule/planned_test_support.h"

namespace swage::pipeline {
namespace {

constexpr const char* kW8 = R"({"scheme": "W8A8", "ignore": ["lm_head"]})";

int64_t solving(const Section& section) {
  return std::count_if(section.actions.begin(), section.actions.end(),
                       [](const ActionPtr& action) { return action->solves(); });
}

TEST(CalibratedSchedule, EachInputGroupIsSolvedOnce) {
  for (const char* name : {"llama32_tied", "mixtral", "opt"}) {
    const Planned planned(name, "gptq", kW8);
    ASSERT_EQ(planned.schedule.size(), planned.shape.blocks.size()) << name;
    for (size_t b = 0; b < planned.schedule.size(); ++b) {
      int64_t groups = 0;
      for (const model::Stage& stage : planned.shape.blocks[b].stages) groups += int64_t(stage.groups.size());
      EXPECT_EQ(solving(planned.schedule[b]), groups) << name;
      EXPECT_EQ(planned.schedule[b].step, block_step(int64_t(b)));
    }
  }
}

// Between EnterBlock and FinishBlock a stage is an EnterStage, its solutions and a Step; nothing reads what the last
// layer makes, unless the head is solved.
TEST(CalibratedSchedule, TheLastOutputIsMadeForAHeadAlone) {
  const Planned without("opt", "gptq", kW8);
  const auto extra = [](const Section& section) { return int64_t(section.actions.size()) - solving(section); };
  const int64_t stages = int64_t(without.shape.blocks[0].stages.size());
  EXPECT_EQ(extra(without.schedule.front()), 2 + 2 * stages);
  EXPECT_EQ(extra(without.schedule.back()), 2 + 2 * stages - 1);
  const Planned with("mixtral", "gptq",
                     R"({"scheme": "W8A16", "group_size": 16, "targets": ["lm_head"], "ignore": []})");
  ASSERT_EQ(with.schedule.size(), with.shape.blocks.size() + 1);
  EXPECT_EQ(with.schedule.back().step, "lm_head");
  EXPECT_EQ(with.schedule.back().block, -1);
  EXPECT_EQ(extra(with.schedule[with.shape.blocks.size() - 1]),
            2 + 2 * int64_t(with.shape.blocks.back().stages.size()));
}

// Weights live as long as their layer, a Gram matrix as long as its stage, activations to the end.
TEST(CalibratedSchedule, BuffersAreGivenBackWhereTheirLifeEnds) {
  const Planned planned("llama32_tied", "gptq", kW8);
  const auto costs = costs_of(planned.schedule, planned.input);
  const size_t actions = costs->ledger.declared().size();
  std::map<Buffer, size_t> count;
  for (const Ledger::Lifetime& life : costs->ledger.lifetimes()) {
    ++count[life.buffer];
    if (life.buffer == Buffer::Activations) {
      EXPECT_EQ(life.first, 0u);
      EXPECT_EQ(life.last, actions - 1);
    }
  }
  size_t stages = 0;
  for (const model::BlockShape& block : planned.shape.blocks) stages += block.stages.size();
  EXPECT_EQ(count[Buffer::Weights], planned.shape.blocks.size());
  EXPECT_EQ(count[Buffer::Gram], stages);
  EXPECT_EQ(count[Buffer::FloatWeights], 0u);
  EXPECT_EQ(count[Buffer::TokenIds], 1u);
  const Planned best("llama32_tied", "gptq", R"({"scheme": "W8A8", "ignore": ["lm_head"], "quality": "best"})");
  const auto twice = costs_of(best.schedule, best.input);
  EXPECT_EQ(twice->activation_bytes, 2 * costs->activation_bytes);
}

}  // namespace
}  // namespace swage::pipeline
