#include "swage/model/arch/shared_experts.h"

#include <algorithm>

#include "swage/base/error.h"

namespace swage::model {

using namespace graph;

SharedExperts shared_experts(const ConfigFields& config, RouterKind kind) {
  const int64_t experts = config.size("n_routed_experts", kMostExperts),
                layers = config.size("num_hidden_layers", kMostLayers);
  const int64_t shared = config.size_or("n_shared_experts", 0, kMostExperts);
  SharedExperts out{.rules = {},
                    .inner = config.size("moe_intermediate_size"),
                    .shared_inner = 0,
                    .dense = config.whole_or("first_k_dense_replace", 0),
                    .activation = config.activation("hidden_act", "silu")};
  out.shared_inner = shared * out.inner;
  SWAGE_CHECK(out.shared_inner <= kLargestSize, CorruptData, "config.json: n_shared_experts ", shared,
              " times moe_intermediate_size ", out.inner, " is too large");
  SWAGE_CHECK(layers * experts <= kMostModules, CorruptData, "config.json: num_hidden_layers ", layers,
              " times n_routed_experts ", experts, " is too large");
  ExpertsNode& rules = out.rules;
  rules.router = {"mlp.gate", Role::Router, experts};
  rules.kind = kind;
  rules.top_k = config.size("num_experts_per_tok", kMostExperts);
  SWAGE_CHECK(rules.top_k <= experts, CorruptData, "config.json: num_experts_per_tok ", rules.top_k,
              " is more than n_routed_experts ", experts);
  rules.gating.activation = out.activation;
  rules.factor = config.positive_or("routed_scaling_factor", 1);
  rules.groups = config.size_or("n_group", 1, experts);
  rules.top_groups = config.size_or("topk_group", 1, rules.groups);
  SWAGE_CHECK(experts % rules.groups == 0, CorruptData, "config.json: n_routed_experts ", experts,
              " is not a multiple of n_group ", rules.groups);
  SWAGE_CHECK(rules.top_k <= experts / rules.groups * rules.top_groups, CorruptData,
              "config.json: num_experts_per_tok ", rules.top_k, " is more than topk_group ", rules.top_groups,
              " groups have");
  rules.renormalise = config.flag_or("norm_topk_prob", kind == RouterKind::Sigmoid);
  if (kind == RouterKind::Sigmoid) {
    rules.router_bias = "mlp.gate.e_score_correction_bias";
    rules.best_of_group = std::min<int64_t>(2, experts / rules.groups);
  }
  return out;
}

Value experts_and_shared(BlockBuilder& b, Value x, const SharedExperts& mixture,
                         const checkpoint::WeightSource& weights) {
  const BlockBuilder::ExpertNames names = expert_names(b, weights, "mlp.experts.", kMlpNames, "mlp.experts");
  if (mixture.shared_inner == 0) return b.experts(x, mixture.rules, mixture.inner, names);
  const Value shared = gated_mlp(b, x, "mlp.shared_experts.", mixture.shared_inner, mixture.activation);
  return b.sum({shared, b.experts(x, mixture.rules, mixture.inner, names)});
}

Value add_experts(BlockBuilder& b, Value x, const SharedExperts& mixture, const checkpoint::WeightSource& weights) {
  if (mixture.shared_inner > 0) b.add(gated_mlp(b, x, "mlp.shared_experts.", mixture.shared_inner, mixture.activation));
  return b.experts(x, mixture.rules, mixture.inner, expert_names(b, weights, "mlp.experts.", kMlpNames, "mlp.experts"));
}

}  // namespace swage::model
