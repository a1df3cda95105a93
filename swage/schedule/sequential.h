// The calibrated pipeline: one pass over the blocks, true-sequential inside each. At every stage of a block the inputs
// of its linears are measured, the linears solved, their quantized weights put in place, and the activations moved on
// through them: every GEMM of the forward runs once, and later weights see the error of earlier ones. What is done in
// which order is said by the schedule (calibrated_schedule.h); here it is run, told of, and kept for going on.
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/offload/rows.h"
#include "swage/schedule/pass_watch.h"
#include "swage/schedule/plan_input.h"
#include "swage/schedule/run.h"

namespace swage::pipeline {

struct SequentialOptions {
  bool moe_routed = false;    // experts' statistics from the tokens routed to them, not from all
  offload::Tiers tiers = {};  // where activations are
  PassWatch* watch = nullptr;
};

// ids_NL int64 [rows, tokens]; `planned` is what the run was planned from. The model's ends are loaded and dropped
// here.
void run_sequential(const Run& run, const at::Tensor& ids_NL, const PlanInput& planned,
                    const SequentialOptions& options);

}  // namespace swage::pipeline
