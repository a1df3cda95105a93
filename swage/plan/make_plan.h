// The plan of a run from the shapes of its model.
#pragma once
#include "swage/plan/plan.h"
#include "swage/schedule/plan_input.h"

namespace swage::pipeline {

Plan make_plan(const PlanInput& input);
// The same; if they may, activations go to a file if the peak exceeds `max_memory_bytes` (0: no limit) with all of them
// in memory: those of as few rows as leave a tenth of it free, or half of what the run leaves without any in memory.
Plan make_plan_within(PlanInput input, uint64_t max_memory_bytes);

// The largest columns and the largest rows of the linears in the model's layers.
struct Widest {
  int64_t columns = 0, rows = 0;
};
Widest widest_linear(const model::ModelShape& shape);

}  // namespace swage::pipeline
