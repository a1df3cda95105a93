// What the module above some linears (attention, MLP, experts) makes of the calibration set, with the linears' weights
// and with others in their place: the objective of AWQ in its own words (Lin et al. 2024, arXiv:2306.00978, eq. 4). The
// Gram matrix of the input judges a linear's own outputs alone.
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

#include "swage/model/block.h"
#include "swage/schedule/activations.h"

namespace swage::pipeline {

// T tokens of a row, D hidden size.
class ParentOutput {
 public:
  // At most so many tokens of the calibration set are run, whole rows spread over it.
  static constexpr int64_t kTokens = 8192;

  // Runs the rows from stage `s` of the block, whose inputs `activations` holds, to where its module adds to the
  // residual stream.
  ParentOutput(model::Block& block, size_t s, const Activations& activations);

  // Sum of the squared differences of the residual stream if weights_OI[i] (f32 [O, I]) took the place of the weight of
  // linears[i], which belong to the block and have float weights; they have their own back afterwards.
  double error(const std::vector<model::Linear*>& linears, const std::vector<at::Tensor>& weights_OI);

 private:
  at::Tensor run(size_t row) const;  // [T, D]

  model::Block& block_;
  size_t first_, last_;  // stages
  const Activations& activations_;
  std::vector<size_t> rows_;
  std::vector<at::Tensor> outputs_TD_;  // of rows_, with the float weights
};

}  // namespace swage::pipeline
