// Takes experts out of a block on the way: measured where its mixture is reached, on what the layers before it and its
// own attention have become, so that later layers see the activations of the pruned one.
#pragma once
#include <cstdint>

#include "swage/model/block.h"
#include "swage/modifiers/expert_pruner.h"
#include "swage/schedule/activations.h"
#include "swage/schedule/float_stream.h"
#include "swage/schedule/run.h"

namespace swage::pipeline {

// Of the tokens that are routed to each of the block's experts (also where calibration shows every token to every
// expert), when the flows are at the input of its MLP. The same for any number of threads.
modifiers::ExpertStatistics expert_statistics(const model::Block& block, int64_t experts,
                                              const Activations& activations);

// For a run with Run::experts.
class BlockExpertPruner {
 public:
  // `float_stream`: null if there is none.
  BlockExpertPruner(const Run& run, Activations& activations, FloatStream* float_stream)
      : run_(run),
        activations_(activations),
        float_(float_stream) {}

  // What a block is loaded from: before its experts are known, all of them.
  const model::Model& model_of(int64_t b) const { return whole(b) ? run_.experts->source_model() : run_.model; }
  const checkpoint::WeightSource& weights_of(int64_t b) const {
    return whole(b) ? run_.experts->source() : run_.weights;
  }

  // Which experts an earlier run kept.
  void restore();
  // Before the MLP's inputs are looked at: measures the experts of the whole block, takes those out that go, and routes
  // all tokens again.
  void prune(model::Block& block, int64_t b);
  // Writes those tensors of the mixture that nobody else does, and reports what was kept.
  void finish(int64_t b);

 private:
  bool whole(int64_t b) const {
    return run_.experts->source_model().mixture(b) != nullptr && run_.experts->kept(b).empty();
  }
  bool is_written_elsewhere(const std::string& weight) const {
    return run_.rescalings.rewritten.contains(weight) || run_.sparsity.rewritten.contains(weight);
  }
  void write_experts(const graph::Mixture& mixture, const std::vector<int64_t>& kept);
  void write_slices(const std::string& name, const std::vector<int64_t>& kept);

  const Run& run_;
  Activations& activations_;
  FloatStream* float_;
  ExpertReport report_;  // of the block that prune() was called for last
};

}  // namespace swage::pipeline
