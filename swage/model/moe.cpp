#include "swage/model/moe.h"

#include <ATen/ops/bincount.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros_like.h>

#include <limits>
#include <tuple>

#include "swage/ops/rows_alone.h"

namespace swage::model {

namespace {

// Experts outside the best groups cannot be chosen.
at::Tensor in_best_groups(const at::Tensor& scores_TE, const graph::ExpertsNode& rules) {
  if (rules.groups <= 1) return scores_TE;
  const int64_t tokens = scores_TE.size(0);
  const at::Tensor by_group = scores_TE.view({tokens, rules.groups, -1});
  const at::Tensor of_group = std::get<0>(at::topk(by_group, rules.best_of_group, -1)).sum(-1);
  const at::Tensor best = std::get<1>(at::topk(of_group, rules.top_groups, -1));
  const at::Tensor stays = at::zeros_like(of_group).scatter_(1, best, 1);
  return by_group.masked_fill(stays.eq(0).unsqueeze(-1), -std::numeric_limits<float>::infinity()).view_as(scores_TE);
}

// The best expert, then the best of the others; the weight of each is its softmax over those that are no more than
// twice the jitter below it, relative to the larger of its logit and their magnitude.
std::tuple<at::Tensor, at::Tensor> mixer(const at::Tensor& logits_TE, const graph::ExpertsNode& rules) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  at::Tensor left_TE = logits_TE;
  std::vector<at::Tensor> weights, ids;
  for (int64_t k = 0; k < rules.top_k; ++k) {
    const auto [best_T1, id_T1] = left_TE.max(-1, true);
    const at::Tensor worse_TE = best_T1.sub(logits_TE).div_(logits_TE.abs().maximum(best_T1)).gt(2 * rules.jitter);
    weights.push_back(at::softmax(left_TE.masked_fill(worse_TE, kNone), -1).gather(-1, id_T1));
    ids.push_back(id_T1);
    left_TE = left_TE.scatter(-1, id_T1, kNone);
  }
  return {at::cat(weights, -1), at::cat(ids, -1)};
}

}  // namespace

void route(Flow& flow, const Router& router) {
  const graph::ExpertsNode& rules = *router.rules;
  const int64_t top_k = rules.top_k;
  const at::Tensor& input_TD = flow.router_input_TD.defined() ? flow.router_input_TD : flow.mlp_input_TD;
  const at::Tensor logits_TE = ops::RowsAlone::on() ? ops::dot_rows(input_TD, router.weight_ED, router.bias_E)
                                                    : at::linear(input_TD, router.weight_ED, router.bias_E);
  at::Tensor shares_TE = rules.kind == graph::RouterKind::Softmax ? at::softmax(logits_TE, -1) : logits_TE.clone();
  if (rules.kind != graph::RouterKind::Softmax) ops::each_row(shares_TE, [](at::Tensor& rows) { at::sigmoid_(rows); });
  if (rules.kind == graph::RouterKind::Mixer) {
    std::tie(flow.expert_weights_TK, flow.expert_ids_TK) = mixer(logits_TE, rules);
  } else if (router.choice_E.defined() || rules.groups > 1) {
    const at::Tensor for_choice_TE = router.choice_E.defined() ? shares_TE.add(router.choice_E) : shares_TE;
    flow.expert_ids_TK = std::get<1>(at::topk(in_best_groups(for_choice_TE, rules), top_k, -1));
    flow.expert_weights_TK = shares_TE.gather(-1, flow.expert_ids_TK);
  } else {
    std::tie(flow.expert_weights_TK, flow.expert_ids_TK) = at::topk(shares_TE, top_k, -1);
  }
  if (rules.renormalise) flow.expert_weights_TK.div_(flow.expert_weights_TK.sum(-1, true));
  if (router.scale_E.defined())
    flow.expert_weights_TK.mul_(
        router.scale_E.index_select(0, flow.expert_ids_TK.view({-1})).view_as(flow.expert_weights_TK));
  if (rules.factor != 1) flow.expert_weights_TK.mul_(rules.factor);
  const auto [ids, order] = at::sort(flow.expert_ids_TK.reshape({-1}), /*stable=*/true, 0, false);
  flow.routed_rows = order.floor_divide(top_k);
  flow.routed_weights = flow.expert_weights_TK.reshape({-1, 1}).index_select(0, order);
  const int64_t experts = router.weight_ED.size(0);
  const at::Tensor counts = at::bincount(ids, {}, experts).cpu();
  flow.routed_offsets.assign(1, 0);
  for (int64_t e = 0; e < experts; ++e) {
    flow.routed_offsets.push_back(flow.routed_offsets.back() + counts.const_data_ptr<int64_t>()[e]);
  }
  flow.accumulated_TD = at::zeros_like(flow.mlp_input_TD);
}

at::Tensor weighed_input(const Flow& flow, int expert, const at::Tensor& rows) {
  return flow.mlp_input_TD.index_select(0, rows).mul_(
      flow.routed_weights.narrow(0, flow.routed_offsets[size_t(expert)], rows.size(0)));
}

void accumulate_expert(Flow& flow, const Linear& down, int expert, bool weighs) {
  const at::Tensor rows = flow.routed_rows_of(expert);
  if (rows.size(0) == 0) return;
  at::Tensor out = down(flow.all_tokens_to_experts ? flow.input_TI.index_select(0, rows) : flow.input_TI);
  if (weighs) out.mul_(flow.routed_weights.narrow(0, flow.routed_offsets[expert], rows.size(0)));
  flow.accumulated_TD.index_add_(0, rows, out);
}

void end_routing(Flow& flow) {
  for (at::Tensor* tensor : {&flow.mlp_input_TD, &flow.router_input_TD, &flow.expert_ids_TK, &flow.expert_weights_TK,
                             &flow.accumulated_TD, &flow.routed_rows, &flow.routed_weights}) {
    tensor->reset();
  }
  flow.routed_offsets.clear();
  flow.input_expert = -1;
}

}  // namespace swage::model
