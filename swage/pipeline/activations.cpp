#include "swage/pipeline/activations.h"

#include <ATen/ops/empty.h>

#include "swage/eval/forward.h"

namespace swage::pipeline {

Activations::Activations(const model::Model& model, const at::Tensor& ids_NT) : flows_(size_t(ids_NT.size(0))) {
  const int64_t rows = ids_NT.size(0), tokens = ids_NT.size(1);
  const at::Tensor first_TD = model.embed(ids_NT[0], 0);
  hidden_NTD_ = at::empty({rows, tokens, first_TD.size(1)}, first_TD.options());
  eval::for_each_parallel(rows, [&](int64_t row) {
    model::Flow& flow = flows_[size_t(row)];
    flow.hidden_TD = model.embed(ids_NT[row], 0);
    flow.all_tokens_to_experts = true;
    keep(row);
  });
}

void Activations::make_room(int64_t columns) {
  const int64_t rows = hidden_NTD_.size(0), tokens = hidden_NTD_.size(1);
  if (inputs_NS_.defined() && inputs_NS_.size(1) >= tokens * columns) return;
  for (model::Flow& flow : flows_) flow.input_TI = at::Tensor();
  inputs_NS_ = at::Tensor();  // freed before the larger one is taken
  inputs_NS_ = at::empty({rows, tokens * columns}, hidden_NTD_.options());
}

void Activations::advance(const std::function<void(model::Flow&)>& work) {
  eval::for_each_parallel(int64_t(flows_.size()), [&](int64_t row) {
    work(flows_[size_t(row)]);
    keep(row);
  });
}

void Activations::scale_inputs(const at::Tensor& factor_I, bool mlp) {
  eval::for_each_parallel(int64_t(flows_.size()), [&](int64_t row) {
    model::Flow& flow = flows_[size_t(row)];
    const bool apart = flow.mlp_input_TD.defined() && flow.mlp_input_TD.const_data_ptr() != flow.input_TI.const_data_ptr();
    flow.input_TI.mul_(factor_I);
    if (mlp && apart) flow.mlp_input_TD.mul_(factor_I);
  });
}

void Activations::keep(int64_t row) {
  model::Flow& flow = flows_[size_t(row)];
  const at::Tensor hidden_TD = hidden_NTD_[row];
  if (flow.hidden_TD.const_data_ptr() != hidden_TD.const_data_ptr()) {
    hidden_TD.copy_(flow.hidden_TD);
    if (flow.input_TI.defined() && flow.input_TI.is_same(flow.hidden_TD)) flow.input_TI = hidden_TD;
    flow.hidden_TD = hidden_TD;
  }
  if (!flow.input_TI.defined()) return;
  const at::Tensor input_TI = inputs_NS_[row].narrow(0, 0, flow.input_TI.numel()).view(flow.input_TI.sizes());
  if (flow.input_TI.const_data_ptr() == input_TI.const_data_ptr()) return;
  input_TI.copy_(flow.input_TI);
  flow.input_TI = input_TI;
}

}  // namespace swage::pipeline
