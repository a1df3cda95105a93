#include "swage/model/decoder_block.h"

#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>

#include "swage/base/error.h"
#include "swage/model/activation_quantization.h"
#include "swage/model/attention.h"
#include "swage/model/kv_cache.h"
#include "swage/model/mlp.h"
#include "swage/model/moe.h"
#include "swage/model/shape.h"

namespace swage::model {

using scheme::TransformLocation;

namespace {

Linear without_weights(const LinearDescription& description, const checkpoint::WeightSource& weights) {
  Linear linear{.name = description.name, .rows = description.rows, .columns = description.columns};
  linear.input_quantization = load_input_quantization(description.name, weights);
  load_transforms(linear, weights);
  return linear;
}

// Routers choose by what they read as it is.
void check_no_transforms(const LinearDescription& router, const checkpoint::WeightSource& weights) {
  const scheme::ModuleName name{router.name, "Router"};
  for (const TransformLocation location : {TransformLocation::Input, TransformLocation::Output}) {
    SWAGE_CHECK(!weights.transform(name, location, location == TransformLocation::Input ? router.columns : router.rows), Unsupported, "transform_config: ", router.name,
                ": transforms of routers are not supported");
  }
}

// heads x_TGE, each multiplied with the transform, if there is one.
at::Tensor transformed_heads(const at::Tensor& x_TGE, const std::shared_ptr<const ops::Transform>& transform) { return transform ? transform->columns(x_TGE) : x_TGE; }

constexpr const char* kAttentionClass = "Attention";  // of any architecture

// "model.layers.0.self_attn" out of "model.layers.0.self_attn.q_proj"
std::string module_above(const std::string& name) { return name.substr(0, name.rfind('.')); }

// heads x_TGE on the grid of `quantization`, if there is one.
at::Tensor quantized_heads(const at::Tensor& x_TGE, const std::optional<ActivationQuantization>& quantization) {
  if (!quantization) return x_TGE;
  const bool by_head = quantization->args.strategy == scheme::Strategy::AttnHead;
  const at::Tensor rows = by_head ? x_TGE.reshape({-1, x_TGE.size(2)}) : x_TGE.reshape({x_TGE.size(0), -1});
  return fake_quantize(rows, *quantization).view(x_TGE.sizes());
}

}  // namespace

void load_transforms(Linear& linear, const checkpoint::WeightSource& weights) {
  linear.input_transform = weights.transform({linear.name}, TransformLocation::Input, linear.columns);
  linear.output_transform = weights.transform({linear.name}, TransformLocation::Output, linear.rows);
}

Linear load_linear(const LinearDescription& description, const checkpoint::WeightSource& weights) {
  Linear linear = without_weights(description, weights);
  linear.weight_OI = load_shaped(weights, description.name + ".weight", {description.rows, description.columns});
  if (description.bias) linear.bias_O = load_shaped(weights, description.name + ".bias", {description.rows});
  return linear;
}

DecoderBlock::DecoderBlock(const BlockDescription& description, const checkpoint::WeightSource& weights, std::shared_ptr<const Rope> rope)
    : description_(description),
      moe_(std::get_if<MoeDescription>(&description_.mlp)),
      rope_(std::move(rope)),
      attention_norm_(description.attention_norm, weights),
      mlp_norm_(description.mlp_norm, weights) {
  const AttentionDescription& attention = description_.attention;
  if (attention.query_norm) query_norm_ = Norm(*attention.query_norm, weights);
  if (attention.key_norm) key_norm_ = Norm(*attention.key_norm, weights);
  for (const auto* linear : {&attention.query, &attention.key, &attention.value, &attention.output}) {
    linears.push_back(load_linear(*linear, weights));
  }
  const std::string name = module_above(attention.query.name);
  query_quantization_ = load_head_quantization(weights.input_quantization(name), name + ".q_scale", attention.heads, weights);
  key_quantization_ = load_head_quantization(weights.kv_cache_quantization(), name + ".k_scale", attention.kv_heads, weights);
  value_quantization_ = load_head_quantization(weights.kv_cache_quantization(), name + ".v_scale", attention.kv_heads, weights);
  query_transform_ = weights.transform({name, kAttentionClass}, TransformLocation::Queries, attention.head_size);
  key_transform_ = weights.transform({name, kAttentionClass}, TransformLocation::KeyCache, attention.head_size);
  stages = stages_of(description_);
  if (moe_) {
    load_experts(*moe_, weights);
  } else {
    load_mlp(std::get<MlpDescription>(description_.mlp), weights);
  }
}

void DecoderBlock::load_mlp(const MlpDescription& mlp, const checkpoint::WeightSource& weights) {
  activation_ = mlp.activation;
  gated_ = mlp.gate.has_value();
  if (gated_) linears.push_back(load_linear(*mlp.gate, weights));
  linears.push_back(load_linear(mlp.up, weights));
  linears.push_back(load_linear(mlp.down, weights));
}

void DecoderBlock::load_experts(const MoeDescription& moe, const checkpoint::WeightSource& weights) {
  activation_ = moe.experts.front().activation;
  check_no_transforms(moe.router, weights);
  router_ED_ = load_shaped(weights, moe.router.name + ".weight", {moe.router.rows, moe.router.columns});
  const int64_t experts = static_cast<int64_t>(moe.experts.size());
  const int64_t inner_size = moe.experts.front().up.rows, hidden_size = moe.experts.front().up.columns;
  at::Tensor gate_up_EID, down_EDI;
  if (!moe.fused.empty()) {
    gate_up_EID = load_shaped(weights, moe.fused + ".gate_up_proj", {experts, 2 * inner_size, hidden_size});
    down_EDI = load_shaped(weights, moe.fused + ".down_proj", {experts, hidden_size, inner_size});
  }
  for (int e = 0; e < experts; ++e) {
    const MlpDescription& expert = moe.experts[e];
    for (const auto* linear : {&*expert.gate, &expert.up, &expert.down}) {
      linears.push_back(moe.fused.empty() ? load_linear(*linear, weights) : without_weights(*linear, weights));
    }
    const int gate = kMlp + 3 * e;
    if (!moe.fused.empty()) {
      linears[gate].weight_OI = gate_up_EID[e].narrow(0, 0, inner_size);
      linears[gate + 1].weight_OI = gate_up_EID[e].narrow(0, inner_size, inner_size);
      linears[gate + 2].weight_OI = down_EDI[e];
    }
  }
}

void DecoderBlock::begin(Flow& flow) const { flow.input_TI = description_.norm_after ? flow.hidden_TD : attention_norm_(flow.hidden_TD); }

void DecoderBlock::step(int s, Flow& flow) const {
  SWAGE_CHECK(s >= 0 && s < static_cast<int>(stages.size()), Internal, "a block of ", stages.size(), " stages was asked for stage ", s);
  if (s == 0) {
    attend_heads(flow);
  } else if (s == 1) {
    linears[kOutput].add_to(flow.hidden_TD, flow.input_TI);
    enter_mlp(flow);
  } else if (s == 2 && !moe_) {
    flow.input_TI = inner(0, flow.input_TI);
  } else if (s == 2) {
    enter_expert(0, flow);
  } else if (!moe_) {
    linears.back().add_to(flow.hidden_TD, flow.input_TI);
    flow.input_TI = at::Tensor();
    if (description_.norm_after) flow.hidden_TD = mlp_norm_(flow.hidden_TD);
  } else {
    const int expert = s - 3;
    accumulate_expert(flow, linears[kMlp + 3 * expert + 2], expert);
    if (s + 1 < static_cast<int>(stages.size())) return enter_expert(expert + 1, flow);
    finish_experts(flow);
  }
}

void DecoderBlock::attend_heads(Flow& flow) const {
  const AttentionDescription& attention = description_.attention;
  const int64_t tokens = flow.input_TI.size(0), size = attention.head_size;
  SharedInput input;
  at::Tensor q_THE = linears[kQuery](flow.input_TI, &input).view({tokens, attention.heads, size});
  at::Tensor k_TGE = linears[kKey](flow.input_TI, &input).view({tokens, attention.kv_heads, size});
  at::Tensor v_TGE = linears[kValue](flow.input_TI, &input).view({tokens, attention.kv_heads, size});
  input = {};
  if (attention.query_norm) query_norm_.apply_(q_THE);
  if (attention.key_norm) key_norm_.apply_(k_TGE);
  if (attention.rope) {
    const RopeTable table = rope_->table(flow.position, tokens);
    rotate_(q_THE, table);
    rotate_(k_TGE, table);
  }
  q_THE = transformed_heads(q_THE, query_transform_);
  k_TGE = transformed_heads(k_TGE, key_transform_);
  if (flow.attention_states != nullptr) *flow.attention_states = {q_THE.transpose(0, 1), k_TGE.transpose(0, 1), v_TGE.transpose(0, 1)};
  q_THE = quantized_heads(q_THE, query_quantization_);
  k_TGE = quantized_heads(k_TGE, key_quantization_);
  v_TGE = quantized_heads(v_TGE, value_quantization_);
  if (!flow.cache) {
    flow.input_TI = attend(q_THE, k_TGE.transpose(0, 1), v_TGE.transpose(0, 1), attention.window);
    return;
  }
  SWAGE_CHECK(flow.cache->tokens() == flow.position, InvalidArgument, "the cache holds ", flow.cache->tokens(),
              " tokens, but the next one is at position ", flow.position);
  flow.cache->append(k_TGE, v_TGE);
  flow.input_TI = attend(q_THE, flow.cache->keys_HTE, flow.cache->values_HTE, attention.window);
}

void DecoderBlock::enter_mlp(Flow& flow) const {
  if (description_.norm_after) {
    flow.hidden_TD = attention_norm_(flow.hidden_TD);
    flow.input_TI = flow.hidden_TD;
  } else {
    flow.input_TI = mlp_norm_(flow.hidden_TD);
  }
  if (!moe_) return;
  flow.mlp_input_TD = flow.input_TI;
  flow.input_expert = -1;
  route(flow, router_ED_, moe_->top_k, moe_->renormalise);
}

at::Tensor DecoderBlock::inner(int index, const at::Tensor& x) const {
  const int first = kMlp + 3 * index;
  SharedInput input;
  at::Tensor out = linears[first](x, &input);
  if (gated_) {
    activate_gated_(out, linears[first + 1](x, &input), activation_);
  } else {
    activate_(out, activation_);
  }
  return out;
}

void DecoderBlock::enter_expert(int expert, Flow& flow) const {
  if (flow.all_tokens_to_experts) {
    flow.input_TI = inner(expert, flow.mlp_input_TD);
    return;
  }
  const at::Tensor rows = flow.routed_rows_of(expert);
  flow.input_expert = expert;
  if (rows.size(0) == 0) {
    flow.input_TI = flow.mlp_input_TD.new_empty({0, linears[kMlp + 3 * expert + 2].columns});
    return;
  }
  flow.input_TI = inner(expert, flow.mlp_input_TD.index_select(0, rows));
}

const MoeDescription& DecoderBlock::mixture() const {
  SWAGE_CHECK(moe_ != nullptr, Internal, description_.mlp_norm.name, ": its block has no experts");
  return *moe_;
}

at::Tensor DecoderBlock::expert_output(int expert, const at::Tensor& x_TD) const {
  SWAGE_CHECK(expert >= 0 && expert < static_cast<int>(mixture().experts.size()), Internal, "expert ", expert, " of ", mixture().experts.size());
  return linears[kMlp + 3 * expert + 2](inner(expert, x_TD));
}

void DecoderBlock::keep_experts(const std::vector<int64_t>& kept) {
  const int64_t experts = static_cast<int64_t>(mixture().experts.size());
  for (size_t i = 0; i < kept.size(); ++i) {
    SWAGE_CHECK(kept[i] >= 0 && kept[i] < experts && (i == 0 || kept[i - 1] < kept[i]), Internal, "expert ", kept[i], " is to be kept of ", experts);
  }
  const auto place = [](int64_t expert) { return size_t{kMlp} + 3 * static_cast<size_t>(expert); };
  std::vector<std::string> names;
  for (const Linear& linear : linears) names.push_back(linear.name);
  for (size_t i = 0; i < kept.size(); ++i) {
    const size_t to = place(int64_t(i)), from = place(kept[i]);  // experts move down only
    for (size_t j = 0; j < 3 && to != from; ++j) {
      linears[to + j] = std::move(linears[from + j]);
      linears[to + j].name = names[to + j];
    }
  }
  linears.resize(place(int64_t(kept.size())));
  moe_->experts.resize(kept.size());
  moe_->router.rows = static_cast<int64_t>(kept.size());
  router_ED_ = router_ED_.index_select(0, at::tensor(kept, at::kLong).to(router_ED_.device()));
  stages = stages_of(description_);
}

void DecoderBlock::route_again(Flow& flow) const {
  SWAGE_CHECK(flow.mlp_input_TD.defined(), Internal, "a flow that is not at the MLP's input was to be routed");
  route(flow, router_ED_, mixture().top_k, mixture().renormalise);
}

void DecoderBlock::finish_experts(Flow& flow) const {
  flow.hidden_TD.add_(flow.accumulated_TD);
  flow.input_TI = at::Tensor();
  end_routing(flow);
  if (description_.norm_after) flow.hidden_TD = mlp_norm_(flow.hidden_TD);
}

}  // namespace swage::model
