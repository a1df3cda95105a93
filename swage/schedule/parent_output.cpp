#include "swage/schedule/parent_output.h"

#include <ATen/ops/sub.h>
#include <ATen/ops/sum.h>

#include <algorithm>
#include <utility>

#include "swage/eval/forward.h"

namespace swage::pipeline {
namespace {

size_t end_of_module(const model::Block& block, size_t s) {
  while (s + 1 < block.stages.size() && !block.stages[s].adds) ++s;
  return s;
}

}  // namespace

ParentOutput::ParentOutput(model::Block& block, size_t s, const Activations& activations)
    : block_(block),
      first_(s),
      last_(end_of_module(block, s)),
      activations_(activations) {
  const int64_t rows = int64_t(activations.flows().size()), row_tokens = activations.tokens() / rows;
  const int64_t looked_at = std::clamp<int64_t>(kTokens / row_tokens, 1, rows);
  for (int64_t i = 0; i < looked_at; ++i) rows_.push_back(size_t(i * rows / looked_at));
  outputs_TD_.resize(rows_.size());
  eval::for_each_parallel(looked_at, [&](int64_t i) { outputs_TD_[size_t(i)] = run(rows_[size_t(i)]); });
}

at::Tensor ParentOutput::run(size_t row) const {
  model::Flow flow = activations_.flows()[row];
  flow.hidden_TD = flow.hidden_TD.clone();
  if (flow.accumulated_TD.defined()) {  // a mixture: its output is that of the routed tokens
    flow.accumulated_TD = flow.accumulated_TD.clone();
    flow.all_tokens_to_experts = false;
  }
  for (size_t s = first_; s <= last_; ++s) block_.step(int(s), flow);
  activations_.release(row);
  return flow.hidden_TD;
}

double ParentOutput::error(const std::vector<model::Linear*>& linears, const std::vector<at::Tensor>& weights_OI) {
  std::vector<at::Tensor> kept;
  for (size_t i = 0; i < linears.size(); ++i) {
    kept.push_back(std::exchange(linears[i]->weight_OI, weights_OI[i].to(linears[i]->weight_OI.device())));
  }
  std::vector<double> row_error(rows_.size());
  eval::for_each_parallel(int64_t(rows_.size()), [&](int64_t i) {
    row_error[size_t(i)] = run(rows_[size_t(i)]).sub_(outputs_TD_[size_t(i)]).square_().sum(at::kDouble).item<double>();
  });
  for (size_t i = 0; i < linears.size(); ++i) linears[i]->weight_OI = std::move(kept[i]);
  double error = 0;
  for (const double one : row_error) error += one;
  return error;
}

}  // namespace swage::pipeline
