// The calibrated pipeline: one pass over the blocks, true-sequential inside each. At every stage of a block the inputs
// of its linears are measured, the linears solved, their quantized weights put in place, and the activations moved on
// through them: every GEMM of the forward runs once, and later weights see the error of earlier ones.
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/offload/rows.h"
#include "swage/schedule/run.h"

namespace swage::pipeline {

struct SequentialOptions {
  bool moe_routed = false;    // experts' statistics from the tokens routed to them, not from all
  offload::Tiers tiers = {};  // where activations are
};

// ids_NL int64 [rows, tokens]. The model's ends are loaded and dropped here.
void run_sequential(const Run& run, const at::Tensor& ids_NL, const SequentialOptions& options);

}  // namespace swage::pipeline
