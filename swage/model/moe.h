// Routing of a sparse mixture of experts (Shazeer et al. 2017, arXiv:1701.06538): scores of all experts by softmax or
// sigmoid, top k, perhaps out of the best groups (DeepSeek-V3, arXiv:2412.19437).
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/graph/program.h"
#include "swage/model/block.h"

namespace swage::model {

// E experts, D hidden size.
struct Router {
  at::Tensor weight_ED = {};
  at::Tensor bias_E = {};    // undefined: none
  at::Tensor choice_E = {};  // added to the scores for the choice alone; undefined: none
  at::Tensor scale_E = {};   // that weights are multiplied with; undefined: none
  const graph::ExpertsNode* rules = nullptr;
};

// Routes flow.mlp_input_TD by flow.router_input_TD, if that is defined, else by itself: sets the expert_* and routed_*
// fields of the flow, starts accumulated_TD at zero.
void route(Flow& flow, const Router& router);

// accumulated[rows of the expert] += weight * down(input), where flow.input_TI is the expert's down projection input:
// of its own rows, or with all_tokens_to_experts of all rows.
// Without `weighs` each row counts once: what the expert read was weighted.
void accumulate_expert(Flow& flow, const Linear& down, int expert, bool weighs = true);
// Rows of flow.mlp_input_TD that are routed to the expert, times their weights.
at::Tensor weighed_input(const Flow& flow, int expert, const at::Tensor& rows);

// Lets go of what route() set.
void end_routing(Flow& flow);

}  // namespace swage::model
