#include "swage/runtime/memory_plan.h"

#include <algorithm>
#include <limits>

#include "swage/base/error.h"
#include "swage/base/memory_budget.h"
#include "swage/runtime/sequence_cache.h"

namespace swage::runtime {
namespace {

constexpr int64_t kSequences = 4;        // for which there is room if nothing else is asked
constexpr int64_t kLeastContext = 4096;  // where the model names no bound

// All values of a block at once, which its runner lets go of one by one, and logits with their copies.
uint64_t step_bytes_of(const graph::ModelProgram& program, const SchedulerOptions& schedule) {
  int64_t widest = 0;
  for (const graph::BlockProgram& block : program.blocks) {
    int64_t width = 0;
    for (const graph::ValueInfo& value : block.values) width += value.width;
    widest = std::max(widest, width);
  }
  const int64_t logits = 3 * schedule.most_sequences * program.embedding.rows;
  return sizeof(float) * uint64_t(schedule.step_tokens * (widest + program.hidden_size) + logits);
}

int64_t context_of(const model::Model& model, const MemoryLimits& limits) {
  const int64_t most = model.max_positions();
  if (limits.context == 0) return most > 0 ? most : std::numeric_limits<int32_t>::max();
  SWAGE_CHECK(limits.context > 1 && (most == 0 || limits.context <= most), InvalidArgument, "a context of ",
              limits.context, " tokens: the model takes 2 to ", most);
  return limits.context;
}

}  // namespace

Json MemoryPlan::to_json() const {
  Json out = Json::object();
  out.set("process_bytes", process_bytes);
  out.set("weight_bytes", weight_bytes);
  out.set("step_bytes", step_bytes);
  out.set("cache_bytes", cache_bytes());
  out.set("peak_bytes", peak_bytes());
  out.set("cache_tokens", cache_tokens);
  out.set("context", context);
  return out;
}

MemoryPlan plan_memory(const model::Model& model, const model::CacheLayout& layout, const SchedulerOptions& schedule,
                       const MemoryLimits& limits, uint64_t process_bytes, uint64_t weight_bytes) {
  MemoryPlan plan;
  plan.process_bytes = process_bytes;
  plan.weight_bytes = weight_bytes;
  plan.step_bytes = step_bytes_of(model.program(), schedule);
  plan.block_bytes = (CachePool::block_bytes(layout) + 63) / 64 * 64;  // as BlockPool lays them out
  plan.state_blocks = CachePool::state_blocks(layout);
  plan.context = context_of(model, limits);
  const bool has_keys = layout.block_bytes > 0;
  const auto blocks_of = [&](int64_t tokens, int64_t sequences) {
    return (has_keys ? (tokens + kBlockTokens - 1) / kBlockTokens : 0) + sequences * plan.state_blocks;
  };
  const auto held = [&](int64_t tokens) {  // at once, by a sequence of so many
    return CachePool::most_blocks(layout, tokens, schedule.step_tokens) - plan.state_blocks;
  };
  const int64_t least = blocks_of(std::min<int64_t>(plan.context, kBlockTokens), 1);
  const int64_t each = std::min(plan.context, limits.context > 0 ? limits.context : kLeastContext);
  const int64_t usual = kSequences * (has_keys ? std::min(each, held(each) * kBlockTokens) : each);
  plan.blocks = blocks_of(limits.cache_tokens > 0 ? limits.cache_tokens : usual, schedule.most_sequences);
  if (limits.most_bytes > 0) {
    const uint64_t taken = plan.peak_bytes() - plan.cache_bytes();
    const uint64_t needed = taken + uint64_t(least) * uint64_t(plan.block_bytes);
    SWAGE_CHECK(limits.most_bytes >= needed, InvalidArgument, "the model and one sequence take ", budget_text(needed),
                ", more than the ", budget_text(limits.most_bytes), " that are allowed");
    const int64_t fits = int64_t((limits.most_bytes - taken) / uint64_t(plan.block_bytes));
    plan.blocks = limits.cache_tokens > 0 ? std::min(plan.blocks, fits) : std::min(fits, std::max(plan.blocks, least));
  }
  plan.blocks = std::max(plan.blocks, least);
  if (has_keys) {
    const int64_t most = (plan.blocks - plan.state_blocks) * kBlockTokens;
    const bool holds_all = held(plan.context) * kBlockTokens <= most;  // windows leave the rest behind
    SWAGE_CHECK(limits.context == 0 || limits.context <= most || holds_all, InvalidArgument, "a context of ",
                limits.context, " tokens: the memory that is allowed holds one of ", most);
    if (!holds_all) plan.context = std::min(plan.context, most);
    plan.cache_tokens = most;
  }
  return plan;
}

}  // namespace swage::runtime
