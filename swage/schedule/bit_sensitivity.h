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

#include "swage/base/context.h"
#include "swage/checkpoint/reader.h"
#include "swage/checkpoint/weight_source.h"
#include "swage/model/model.h"
#include "swage/offload/rows.h"
#include "swage/report/report.h"
#include "swage/resolve/bit_budget.h"
#include "swage/schedule/probe_store.h"

namespace swage::pipeline {

// Rows of the calibration set that errors are measured on: 16384 tokens at most.
int64_t rows_measured(int64_t rows, int64_t row_tokens);
// Sequences that divergences are measured on.
inline constexpr int64_t kProbeRows = 4, kProbeTokens = 128;

struct SensitivityJob {
  model::Model& model;
  const checkpoint::Reader& reader;
  const checkpoint::WeightSource& weights;
  const Assignment& assignment;
  const std::vector<BudgetUnit>& units;
  const Context& context;
  StageClock& clock;
  offload::Tiers tiers = {};  // as in Activations
  bool moe_routed = false;
  ProbeStore* store = nullptr;  // keeps what is measured, and has what an earlier process measured
};

// ids_NL: calibration rows, int64. Memory is that of the calibration, one layer's weights once more, and the residual
// streams of a probe for each unit.
BudgetCosts measure_costs(const SensitivityJob& job, const at::Tensor& ids_NL, size_t probed);

}  // namespace swage::pipeline
