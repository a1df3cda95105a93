// How far a compressed model's predictions are from those of the model it was made of.
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

#include "swage/eval/perplexity.h"

namespace swage::eval {

// Rows of logits that a thread compares at once: each is as wide as the vocabulary, in both models.
inline constexpr int64_t kRowsCompared = 64;

struct Comparison {
  Perplexity baseline, model;
  double kl_mean = 0;    // KL(baseline || model) of the distributions, nats, mean over predicted tokens
  double kl_p99 = 0;     // 99 % of the tokens have at most this
  double same_top1 = 0;  // share of tokens whose most likely prediction is the same
  // Of the residual stream behind each block, ||model - baseline|| / ||baseline|| over all tokens; empty if the models
  // have other numbers of blocks or hidden sizes. A stream that was rotated as a whole is another one, and differs by
  // about 1.4 everywhere.
  std::vector<double> block_errors;
};

// windows_NL as for perplexity(); both models must have the same vocabulary: Error(InvalidArgument). Each model's
// blocks are read once for every `windows_at_once` windows. Error(Numerical) if a log likelihood is not finite.
Comparison compare(model::Model& baseline, const checkpoint::WeightSource& baseline_weights, model::Model& model,
                   const checkpoint::WeightSource& model_weights, const at::Tensor& windows_NL, const Context& context,
                   const PerplexityOptions& options = {});

}  // namespace swage::eval
