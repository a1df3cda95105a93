// Rescaling on the way: what a recipe's rescalers do to a block before its linears are solved.
#pragma once
#include <vector>

#include "swage/model/block.h"
#include "swage/schedule/group_solver.h"
#include "swage/schedule/run.h"
#include "swage/schedule/stage_inputs.h"

namespace swage::pipeline {

class BlockRescaler {
 public:
  BlockRescaler(const Run& run, StageInputs& inputs, GroupSolver& solver)
      : run_(run),
        inputs_(inputs),
        solver_(solver) {}

  // Divides what the linears of the stage read, and multiplies their columns, as the rescalers of block b find best.
  void rescale(model::Block& block, int64_t b, const model::Stage& stage);

 private:
  void rescale(model::Block& block, size_t stage, const Rescaling& rescaling,
               const std::vector<model::Linear*>& consumers);
  void divide_producer(model::Block& block, const model::SmoothingPair& pair, const at::Tensor& norm_I,
                       const at::Tensor& s_O);

  const Run& run_;
  StageInputs& inputs_;
  GroupSolver& solver_;
};

}  // namespace swage::pipeline
