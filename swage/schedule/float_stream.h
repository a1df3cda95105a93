// The float model, run beside the quantized one stage by stage: what the inputs of each stage would be if nothing were
// quantized.
#pragma once
#include <memory>
#include <optional>

#include "swage/schedule/activations.h"
#include "swage/schedule/linear_input.h"
#include "swage/solvers/target.h"

namespace swage::pipeline {

class FloatStream {
 public:
  static constexpr size_t kMomentsAtOnce = 8;  // sequences whose products are summed together

  // As Activations.
  FloatStream(const model::Model& model, const at::Tensor& ids_NT, const offload::Tiers& tiers)
      : activations_(model, ids_NT, tiers) {}

  // Loads block `index` from the float checkpoint and computes the input of its first stage.
  void begin_block(const model::Model& model, int64_t index, const checkpoint::WeightSource& weights);
  // Goes on to the input of stage s + 1.
  void step(int s);
  // Takes the other experts out of the block, at the input of its MLP.
  void keep_experts(const std::vector<int64_t>& kept);
  void end_block() { block_.reset(); }
  // All of it at once, for a block that was quantized by an earlier run.
  void pass_block(const model::Model& model, int64_t index, const checkpoint::WeightSource& weights);
  // What the quantized stream's inputs were multiplied with since the last step: for the moments, this stream's count
  // as multiplied too.
  void scale_inputs(const at::Tensor& factor_I);

  // Moments of the current stage between this stream and `quantized`, whose inputs count as `input` has them seen; this
  // one's as multiplied. With `residual` also those of what the residual stream lacks. `held_out`: those of every
  // kHeldOut-th sequence; else those of the others.
  solvers::TargetMoments moments(const Activations& quantized, const LinearInput& input, bool residual,
                                 bool held_out) const;

 private:
  static constexpr size_t kHeldOut = 8;

  Activations activations_;
  std::unique_ptr<model::Block> block_;
  at::Tensor factor_I_;  // f32; undefined: 1
};

}  // namespace swage::pipeline
