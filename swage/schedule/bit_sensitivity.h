// What each unit of a bit budget costs with each candidate, measured in a pass of the float model before anything is
// written.
//
// Each linear is quantized with all candidates against its float inputs; its error is tr(dW H dW^T), H the Gram matrix
// of the input. Each unit's weights, quantized with one candidate, are then put alone into the float model: the mean KL
// divergence of its predictions is what that candidate costs, and the others cost as much more or less as their errors
// are larger or smaller. Divergences add up over units and grow with the square of an error as long as both are small.
// Weighing errors by the energy of the outputs instead needs no such probes, and chooses worse than no choice at all
// (docs/quality.md).
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

#include "swage/resolve/bit_budget.h"
#include "swage/schedule/float_pass.h"
#include "swage/schedule/probe_store.h"

namespace swage::pipeline {

// Of a run's input: its calibration rows that errors are measured on, 16384 tokens at most.
PlanInput measured_part(const PlanInput& input);
// Of that.
FloatSchedule bit_schedule(const PlanInput& input);
PlanStage plan_bits(const PlanInput& input);

struct SensitivityJob {
  FloatPassJob pass;
  const Assignment& assignment;
  const std::vector<BudgetUnit>& units;
  ProbeStore* store = nullptr;  // keeps what is measured, and has what an earlier process measured
};

// ids_NL: calibration rows, int64. `probed`: the candidate that is put into the model.
BudgetCosts measure_costs(const SensitivityJob& job, const at::Tensor& ids_NL, size_t probed);

namespace actions {

// Of layer b; s counts its stages, g the input groups of a stage. `begun`: probes that began in earlier layers.
FloatActionPtr embed_probes();
FloatActionPtr enter_measured_stage(std::string at);
FloatActionPtr measure_errors(std::string at, int64_t b, int64_t s, int64_t g);
FloatActionPtr probe(std::string at, int64_t b, int64_t begun, int64_t begin);
FloatActionPtr predict(int64_t probes);

}  // namespace actions

}  // namespace swage::pipeline
