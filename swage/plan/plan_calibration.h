// The part of a plan that runs the model on calibration text: memory and work, block by block as sequential.cpp does
// it.
#pragma once
#include "swage/schedule/plan_input.h"

namespace swage::pipeline {

struct CalibrationPlan {
  PlanStage stage;
  uint64_t activation_bytes = 0;  // at their largest, of both streams
};

CalibrationPlan plan_calibration(const PlanInput& input);

// Bytes of linears, embeddings and head outside the blocks, as float32 while they are loaded.
double bytes_of_ends(const model::ModelShape& shape);
// Of the calibration rows, those whose activations are in memory at once.
double share_in_memory(const PlanInput& input);
// The largest Gram matrix's packed inputs (ops/gram), for `tokens` of `columns`.
double gram_scratch_bytes(double columns, double tokens, bool on_device);

}  // namespace swage::pipeline
