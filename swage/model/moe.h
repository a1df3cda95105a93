// Routing of a sparse mixture of experts (Shazeer et al. 2017, arXiv:1701.06538): softmax over the experts, top k.
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/model/block.h"

namespace swage::model {

// Routes flow.mlp_input_TD with the router's weight [E, D]: sets the expert_* and routed_* fields of the flow, starts
// accumulated_TD at zero. Weights of a token's experts are divided by their sum if `renormalise`.
void route(Flow& flow, const at::Tensor& router_ED, int64_t top_k, bool renormalise);

// accumulated[rows of the expert] += weight * down(input), where flow.input_TI is the expert's down projection input: of its
// own rows, or with all_tokens_to_experts of all rows.
void accumulate_expert(Flow& flow, const Linear& down, int expert);

// Lets go of what route() set.
void end_routing(Flow& flow);

}  // namespace swage::model
