#include "swage/model/moe.h"

#include <ATen/ops/bincount.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros_like.h>

#include <tuple>

namespace swage::model {

void route(Flow& flow, const at::Tensor& router_ED, int64_t top_k, bool renormalise) {
  const at::Tensor shares_TE = at::softmax(at::linear(flow.mlp_input_TD, router_ED), -1);
  std::tie(flow.expert_weights_TK, flow.expert_ids_TK) = at::topk(shares_TE, top_k, -1);
  if (renormalise) flow.expert_weights_TK.div_(flow.expert_weights_TK.sum(-1, true));
  const auto [ids, order] = at::sort(flow.expert_ids_TK.reshape({-1}), /*stable=*/true, 0, false);
  flow.routed_rows = order.floor_divide(top_k);
  flow.routed_weights = flow.expert_weights_TK.reshape({-1, 1}).index_select(0, order);
  const int64_t experts = router_ED.size(0);
  const at::Tensor counts = at::bincount(ids, {}, experts).cpu();
  flow.routed_offsets.assign(1, 0);
  for (int64_t e = 0; e < experts; ++e) {
    flow.routed_offsets.push_back(flow.routed_offsets.back() + counts.const_data_ptr<int64_t>()[e]);
  }
  flow.accumulated_TD = at::zeros_like(flow.mlp_input_TD);
}

void accumulate_expert(Flow& flow, const Linear& down, int expert) {
  const at::Tensor rows = flow.routed_rows_of(expert);
  if (rows.size(0) == 0) return;
  at::Tensor out = down(flow.all_tokens_to_experts ? flow.input_TI.index_select(0, rows) : flow.input_TI);
  out.mul_(flow.routed_weights.narrow(0, flow.routed_offsets[expert], rows.size(0)));
  flow.accumulated_TD.index_add_(0, rows, out);
}

void end_routing(Flow& flow) {
  for (at::Tensor* tensor :
       {&flow.mlp_input_TD, &flow.expert_ids_TK, &flow.expert_weights_TK, &flow.accumulated_TD, &flow.routed_rows, &flow.routed_weights}) {
    tensor->reset();
  }
  flow.routed_offsets.clear();
  flow.input_expert = -1;
}

}  // namespace swage::model
