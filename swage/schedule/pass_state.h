// What the actions of a calibrated pass share while it runs: the flows, the float model beside them, and the block at
// hand.
#pragma once
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>

#include "swage/schedule/activations.h"
#include "swage/schedule/block_expert_pruner.h"
#include "swage/schedule/float_stream.h"
#include "swage/schedule/group_solver.h"
#include "swage/schedule/run.h"
#include "swage/schedule/sequential.h"
#include "swage/schedule/stage_inputs.h"

namespace swage::pipeline {

class PassState {
 public:
  // Embeds ids_NL; the model's ends must be loaded.
  PassState(const Run& run, const at::Tensor& ids_NL, const SequentialOptions& options);

  const Run& run;
  Activations activations;
  std::optional<FloatStream> float_stream;  // if some weights are to make up for earlier layers
  StageInputs inputs;
  GroupSolver solver;
  std::optional<BlockExpertPruner> experts;  // if some go
  std::unique_ptr<model::Block> block;
  bool finished = false;  // the block, by an earlier run: only activations are taken through it

  // What block b is loaded from: if experts go, all of them until it is known which.
  const model::Model& model_of(int64_t b) const { return experts ? experts->model_of(b) : run.model; }
  const checkpoint::WeightSource& weights_of(int64_t b) const { return experts ? experts->weights_of(b) : run.weights; }

  // One pass of all flows, and one of the float model; timed.
  void forward(const std::function<void(model::Flow&)>& work);
  void forward_float(const std::function<void(FloatStream&)>& work);
  // The linears of an input group.
  std::vector<model::Linear*> linears_of(const model::InputGroup& group) const;

  // Weights that were rescaled after their block had used them do not give its output back bit for bit, so that is
  // saved itself. Two files in turn: one stays whole while the other is written.
  bool saves_activations() const { return !run.rescalings.of_block.empty() && run.steps.keeps(); }
  std::filesystem::path saved_activations(int64_t b) const;
};

}  // namespace swage::pipeline
