// What the engine plans before it loads a model.
#include "swage/runtime/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"
#include "swage/runtime/engine.h"
#include "swage/runtime/tiny_model_test_support.h"

namespace swage::runtime {
namespace {

// A window's cache holds sequences of any length, where a whole one's would have to be as long.
TEST(MemoryPlan, OfAWindowIsThatOfTheWindow) {
  Json config = configs().at("mistral");
  config.set("max_position_embeddings", 100000);
  const TinyModel tiny(config);
  const model::CacheLayout layout = model::cache_layout(tiny.model->program(), kernels::CacheFormat::F32);
  const MemoryPlan plan = plan_memory(*tiny.model, layout, {16, 4}, {}, 0, 2000);
  EXPECT_EQ(plan.context, 100000);
  EXPECT_EQ(plan.blocks, 4 * 4);
  const MemoryPlan asked = plan_memory(*tiny.model, layout, {16, 4}, {.context = 5000}, 0, 2000);
  EXPECT_EQ(asked.context, 5000);
  const MemoryPlan less = plan_memory(*tiny.model, layout, {16, 4}, {.cache_tokens = 20}, 0, 2000);
  EXPECT_EQ(less.context, 32);
}

TEST(MemoryPlan, FitsTheBoundOrSaysWhatItTakes) {
  const TinyModel tiny(llama());
  const model::CacheLayout layout = model::cache_layout(tiny.model->program(), kernels::CacheFormat::F32);
  const SchedulerOptions schedule{16, 4};
  const MemoryPlan free_plan = plan_memory(*tiny.model, layout, schedule, {}, 1000, 2000);
  EXPECT_EQ(free_plan.context, tiny.model->max_positions());
  EXPECT_GE(free_plan.cache_tokens, free_plan.context);
  MemoryLimits limits;
  limits.most_bytes = free_plan.peak_bytes() - 3 * uint64_t(free_plan.block_bytes);
  const MemoryPlan bound = plan_memory(*tiny.model, layout, schedule, limits, 1000, 2000);
  EXPECT_LE(bound.peak_bytes(), limits.most_bytes);
  EXPECT_EQ(bound.blocks, free_plan.blocks - 3);
  limits = {.cache_tokens = 40};
  EXPECT_EQ(plan_memory(*tiny.model, layout, schedule, limits, 0, 2000).cache_tokens, 48);
  limits = {.most_bytes = 5000};
  EXPECT_THROW(plan_memory(*tiny.model, layout, schedule, limits, 0, 2000), Error);
  limits = {.context = 1};
  EXPECT_THROW(plan_memory(*tiny.model, layout, schedule, limits, 0, 2000), Error);
  limits = {.context = 60, .cache_tokens = 20};
  EXPECT_THROW(plan_memory(*tiny.model, layout, schedule, limits, 0, 2000), Error);
}

}  // namespace
}  // namespace swage::runtime
