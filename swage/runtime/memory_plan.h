// What an engine takes of the machine's memory, known before it answers.
#pragma once
#include <cstdint>

#include "swage/base/json.h"
#include "swage/model/kv_cache.h"
#include "swage/model/model.h"
#include "swage/runtime/scheduler.h"

namespace swage::runtime {

struct MemoryLimits {
  uint64_t most_bytes = 0;   // of the whole process; 0: no bound
  int64_t context = 0;       // tokens of a sequence at most; 0: as the model takes
  int64_t cache_tokens = 0;  // that the cache holds; 0: what the bound leaves, or without one, a context for each of
                             // a few sequences
};

struct MemoryPlan {
  uint64_t process_bytes = 0;                             // that are there before
  uint64_t weight_bytes = 0;                              // of the model in memory
  uint64_t step_bytes = 0;                                // of a step's activations and logits, at most
  int64_t block_bytes = 0, blocks = 0, state_blocks = 0;  // of the cache
  int64_t context = 0;                                    // tokens of a sequence at most
  int64_t cache_tokens = 0;                               // of all sequences together

  uint64_t cache_bytes() const { return uint64_t(block_bytes) * uint64_t(blocks); }
  uint64_t peak_bytes() const { return process_bytes + weight_bytes + step_bytes + cache_bytes(); }
  Json to_json() const;
};

// `process_bytes`: what the process holds without the model; `weight_bytes`: what the model takes.
// Error(InvalidArgument) saying what would do if not even one sequence of the context fits.
MemoryPlan plan_memory(const model::Model& model, const model::CacheLayout& layout, const SchedulerOptions& schedule,
                       const MemoryLimits& limits, uint64_t process_bytes, uint64_t weight_bytes);

}  // namespace swage::runtime
