// DeepSeek-V2 and V3 (arXiv:2405.04434, 2412.19437): latent attention (MLA), whose queries, keys and values come out of narrow projections, and a mixture with
// shared experts whose router chooses among the best groups.
#include <algorithm>
#include <cmath>

#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/parts.h"
#include "swage/model/rope.h"

namespace swage::model {

using namespace graph;

namespace {

struct DeepSeek {
  int64_t hidden, layers, heads, query_rank, latent_rank, nope, rope, value, inner, expert_inner, experts, shared, top_k, dense, step;
  double epsilon, scale;
  bool biases;
  Activation activation;
};

DeepSeek sizes(const ConfigFields& config) {
  DeepSeek out{};
  out.hidden = config.size("hidden_size");
  out.layers = config.size("num_hidden_layers", kMostLayers);
  out.heads = config.size("num_attention_heads", 65536);
  out.query_rank = config.size_or("q_lora_rank", 0);
  out.latent_rank = config.size("kv_lora_rank");
  out.nope = config.size("qk_nope_head_dim", 65536);
  out.rope = config.size("qk_rope_head_dim", 65536);
  out.value = config.size("v_head_dim", 65536);
  out.inner = config.size("intermediate_size");
  out.expert_inner = config.size("moe_intermediate_size");
  out.experts = config.size("n_routed_experts", kMostExperts);
  out.shared = config.size_or("n_shared_experts", 0, kMostExperts);
  out.top_k = config.size("num_experts_per_tok", kMostExperts);
  out.dense = config.json().get_int("first_k_dense_replace", 0);
  out.step = config.size_or("moe_layer_freq", 1);
  out.epsilon = config.positive_or("rms_norm_eps", 1e-6);
  out.biases = config.flag_or("attention_bias", false);
  out.activation = config.activation("hidden_act", "silu");
  out.scale = 1 / std::sqrt(static_cast<double>(out.nope + out.rope));
  const int64_t head = std::max(out.nope, out.value) + out.rope;
  SWAGE_CHECK(out.heads * head <= kLargestSize, CorruptData, "config.json: num_attention_heads ", out.heads, " of up to ", head, " numbers each are too large");
  SWAGE_CHECK(out.shared * out.expert_inner <= kLargestSize, CorruptData, "config.json: n_shared_experts ", out.shared, " times moe_intermediate_size ",
              out.expert_inner, " is too large");
  SWAGE_CHECK(out.layers * out.experts <= kMostModules, CorruptData, "config.json: num_hidden_layers ", out.layers, " times n_routed_experts ", out.experts,
              " is too large");
  SWAGE_CHECK(out.top_k <= out.experts, CorruptData, "config.json: num_experts_per_tok ", out.top_k, " is more than n_routed_experts ", out.experts);
  return out;
}

Value latent_attention(BlockBuilder& b, Value x, const DeepSeek& d) {
  const std::string at = "self_attn.";
  Value latent_query = -1, query = -1;
  if (d.query_rank > 0) latent_query = b.linear(x, Role::Latent, at + "q_a_proj", d.query_rank, d.biases);
  else query = b.linear(x, Role::Query, at + "q_proj", d.heads * (d.nope + d.rope));
  const std::vector<Value> latent = b.split(b.linear(x, Role::Latent, at + "kv_a_proj_with_mqa", d.latent_rank + d.rope, d.biases), {d.latent_rank, d.rope});
  const Value key_rope = b.rope(latent[1], 1, 0);  // one for all heads
  if (d.query_rank > 0) {
    query = b.linear(b.norm(latent_query, rms_norm(at + "q_a_layernorm", d.query_rank, d.epsilon)), Role::Query, at + "q_b_proj", d.heads * (d.nope + d.rope));
  }
  query = b.rope(query, d.heads, 0, d.nope);
  const Value normed = b.norm(latent[0], rms_norm(at + "kv_a_layernorm", d.latent_rank, d.epsilon));
  const std::vector<Value> parts = b.split(b.linear(normed, Role::KeyValue, at + "kv_b_proj", d.heads * (d.nope + d.value)), {d.nope, d.value}, d.heads);
  AttentionNode form{};
  form.heads = form.kv_heads = d.heads;
  form.head_size = d.nope + d.rope;
  form.value_size = d.value;
  form.scale = d.scale;
  const Value mixed = b.attention(query, b.join({parts[0], key_rope}, d.heads), parts[1], "self_attn", form);
  return b.linear(mixed, Role::Output, at + "o_proj", d.hidden, d.biases);
}

// YaRN's factor for the scores, mscale_all_dim's, squared.
double scale_of_yarn(const ConfigFields& config, const RopeSpec& rope) {
  const Json* scaling = config.json().find("rope_parameters");
  if (scaling == nullptr || scaling->is_null()) scaling = config.json().find("rope_scaling");
  if (rope.kind == RopeKind::Default || scaling == nullptr) return 1;
  const double all = scaling->get_double("mscale_all_dim", 0);
  if (all == 0 || rope.factor <= 1) return 1;
  const double factor = 0.1 * all * std::log(rope.factor) + 1;
  return factor * factor;
}

// Drafting layers: a block, two norms before and one after it, a projection of twice the width, an embedding and a head each.
int64_t drafting_parameters(const ConfigFields& config, const DeepSeek& d, const BlockProgram& block) {
  const int64_t layers = config.json().get_int("num_nextn_predict_layers", 0);
  SWAGE_CHECK(layers >= 0 && layers <= 64, CorruptData, "config.json: num_nextn_predict_layers must be from 0 to 64, not ", layers);
  ModelProgram one;
  one.blocks = {block};
  return layers * (shape_of(one).blocks[0].parameters() + 3 * d.hidden + 2 * d.hidden * d.hidden + 2 * config.size("vocab_size") * d.hidden);
}

ModelProgram describe(const ConfigFields& config, const checkpoint::WeightSource& weights, const DeepSeek& d, const ExpertsNode& rules, const RopeSpec& rope) {
  ModelProgram model = model_around(config, d.hidden, "model.embed_tokens", rms_norm("model.norm", d.hidden, d.epsilon), false);
  model.ropes = {rope};
  const auto block_of = [&](int64_t layer, bool mixture) {
    BlockBuilder b(cat("model.layers.", layer, "."), d.hidden);
    b.add(latent_attention(b, b.norm(kStream, rms_norm("input_layernorm", d.hidden, d.epsilon)), d));
    const Value y = b.norm(kStream, rms_norm("post_attention_layernorm", d.hidden, d.epsilon));
    if (!mixture) {
      b.add(gated_mlp(b, y, "mlp.", d.inner, d.activation));
      return b.finish();
    }
    if (d.shared > 0) b.add(gated_mlp(b, y, "mlp.shared_experts.", d.shared * d.expert_inner, d.activation));
    b.add(b.experts(y, rules, d.expert_inner, expert_names(b, weights, "mlp.experts.", kMlpNames, "mlp.experts")));
    return b.finish();
  };
  for (int64_t layer = 0; layer < d.layers; ++layer) model.blocks.push_back(block_of(layer, layer >= d.dense && layer % d.step == 0));
  model.side_parameters = drafting_parameters(config, d, block_of(d.layers, true));
  return model;
}

ExpertsNode rules_of(const ConfigFields& config, const DeepSeek& d) {
  ExpertsNode rules{};
  rules.router = {"mlp.gate", Role::Router, d.experts};
  rules.top_k = d.top_k;
  rules.activation = d.activation;
  rules.factor = config.positive_or("routed_scaling_factor", 1);
  rules.groups = config.size_or("n_group", 1, d.experts);
  rules.top_groups = config.size_or("topk_group", 1, rules.groups);
  SWAGE_CHECK(d.experts % rules.groups == 0, CorruptData, "config.json: n_routed_experts ", d.experts, " is not a multiple of n_group ", rules.groups);
  SWAGE_CHECK(d.top_k <= d.experts / rules.groups * rules.top_groups, CorruptData, "config.json: num_experts_per_tok ", d.top_k, " is more than topk_group ",
              rules.top_groups, " groups have");
  return rules;
}

}  // namespace

ModelProgram describe_deepseek_v2(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const DeepSeek d = sizes(config);
  ExpertsNode rules = rules_of(config, d);
  rules.renormalise = false;
  if (config.text_or("topk_method", "greedy") == "greedy") rules.groups = rules.top_groups = 1;
  return describe(config, weights, d, rules, rope_of(config, d.rope, 10000, {.interleaved = true}));
}

ModelProgram describe_deepseek_v3(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  DeepSeek d = sizes(config);
  ExpertsNode rules = rules_of(config, d);
  rules.kind = RouterKind::Sigmoid;
  rules.router_bias = "mlp.gate.e_score_correction_bias";
  rules.renormalise = config.flag_or("norm_topk_prob", true);
  rules.best_of_group = std::min<int64_t>(2, d.experts / rules.groups);
  const RopeSpec rope = rope_of(config, d.rope, 10000, {.interleaved = config.flag_or("rope_interleave", true)});
  d.scale *= scale_of_yarn(config, rope);
  return describe(config, weights, d, rules, rope);
}

}  // namespace swage::model
