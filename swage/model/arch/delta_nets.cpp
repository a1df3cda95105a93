// Gated delta nets beside attention: Qwen3-Next and Qwen 3.5, OLMo Hybrid, and Kimi Linear (arXiv:2510.26692), whose
// states decay each number of a key by itself.
#include <algorithm>

#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/latent_attention.h"
#include "swage/model/arch/llama_like.h"
#include "swage/model/arch/mixers.h"
#include "swage/model/arch/shared_experts.h"

namespace swage::model {

using namespace graph;

namespace {

// Layers that attend: `layer_types`, else every `interval`-th.
std::vector<bool> attending(const ConfigFields& config, int64_t interval) {
  const int64_t layers = config.size("num_hidden_layers", kMostLayers);
  const std::vector<std::string> types = config.texts("layer_types", layers);
  std::vector<bool> out;
  for (int64_t layer = 0; layer < layers; ++layer)
    out.push_back(types.empty() ? (layer + 1) % interval == 0 : types[size_t(layer)] == "full_attention");
  return out;
}

// One linear makes queries, keys, values and the gate of the output of each key head in turn, one the two gates.
DeltaParts fused_parts(BlockBuilder& b, Value x, const DeltaSizes& s) {
  const int64_t repeats = s.value_heads / s.key_heads, values = repeats * s.value_size;
  const std::vector<Value> all =
      b.split(b.linear(x, Role::Recurrence, "linear_attn.in_proj_qkvz", 2 * s.keys() + 2 * s.values()),
              {s.key_size, s.key_size, values, values}, s.key_heads);
  const std::vector<Value> gates = b.split(b.linear(x, Role::Recurrence, "linear_attn.in_proj_ba", 2 * s.value_heads),
                                           {repeats, repeats}, s.key_heads);
  return {b.join({all[0], all[1], all[2]}, 1), gates[1], gates[0], all[3]};
}

DeltaParts separate_parts(BlockBuilder& b, Value x, const DeltaSizes& s) {
  const auto linear = [&](const char* name, int64_t rows) {
    return b.linear(x, Role::Recurrence, cat("linear_attn.", name), rows);
  };
  const Value mixed = linear("in_proj_qkv", 2 * s.keys() + s.values()), output_gate = linear("in_proj_z", s.values());
  const Value beta = linear("in_proj_b", s.value_heads);
  return {mixed, linear("in_proj_a", s.value_heads), beta, output_gate};
}

Value qwen_mixer(BlockBuilder& b, Value x, const DeltaSizes& s, bool fused) {
  DeltaParts parts = fused ? fused_parts(b, x, s) : separate_parts(b, x, s);
  parts.norm_epsilon = s.epsilon;
  parts.mixed =
      b.convolution(parts.mixed, {{"linear_attn.conv1d", b.width(parts.mixed)}}, s.kernel, false, s.activation);
  return b.linear(delta_rule(b, "linear_attn", s, parts), Role::Output, "linear_attn.out_proj", b.width(kStream));
}

// Norms stored less one, attention with a gate that comes with the queries.
LlamaTraits qwen_traits(const ConfigFields& config, bool fused) {
  LlamaTraits traits;
  traits.attention.input_biases = traits.attention.output_bias = config.flag_or("attention_bias", false);
  traits.attention.query_has_gate = true;
  traits.head_norms = true;
  traits.norm_offset = 1;
  traits.default_theta = 10000000;
  traits.rope_form.partial = 0.25;
  const std::vector<bool> attends = attending(config, config.size_or("full_attention_interval", 4));
  const DeltaSizes s = delta_sizes(config);
  traits.mixer = [=](BlockBuilder& b, Value x, int64_t layer) {
    return attends[size_t(layer)] ? -1 : qwen_mixer(b, x, s, fused);
  };
  return traits;
}

}  // namespace

ModelProgram describe_qwen3_next(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  LlamaTraits traits = qwen_traits(config, true);
  const std::set<int64_t> dense = layer_set(config, "mlp_only_layers");
  const int64_t step = config.size_or("decoder_sparse_step", 1), inner = config.size("intermediate_size");
  const Activation activation = config.activation("hidden_act", "silu");
  traits.mlp = [&](BlockBuilder& b, Value x, int64_t layer) {
    if (dense.contains(layer) || (layer + 1) % step != 0) return gated_mlp(b, x, "mlp.", inner, activation);
    return gated_shared_experts(b, x, config, weights);
  };
  return describe_llama_like(config, traits);
}

ModelProgram describe_qwen3_5_text(const ConfigFields& config, const checkpoint::WeightSource&) {
  return describe_llama_like(config, qwen_traits(config, false));
}

ModelProgram describe_qwen3_5_moe_text(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  Json fields = config.json();
  fields.set("intermediate_size", config.size("moe_intermediate_size"));  // no layer has an MLP of its own
  if (fields.find("norm_topk_prob") == nullptr) fields.set("norm_topk_prob", true);
  const ConfigFields filled(fields);
  LlamaTraits traits = qwen_traits(config, false);
  traits.mlp = [&](BlockBuilder& b, Value x, int64_t) { return gated_shared_experts(b, x, filled, weights); };
  return describe_llama_like(filled, traits);
}

namespace {

// Channels of a convolution that is stored in three; transformers has cut some files in other places than where
// queries, keys and values meet.
std::vector<ConvolutionNode::Part> convolution_parts(const BlockBuilder& b, const checkpoint::WeightSource& weights,
                                                     const std::string& module, const DeltaSizes& s) {
  const int64_t own[3] = {s.keys(), s.keys(), s.values()};
  const char* const names[3] = {".q_conv1d", ".k_conv1d", ".v_conv1d"};
  std::vector<ConvolutionNode::Part> parts, stored;
  int64_t sum = 0;
  for (size_t i = 0; i < 3; ++i) {
    parts.push_back({module + names[i], own[i]});
    const std::vector<int64_t> shape = weights.shape(b.prefix() + module + names[i] + ".weight");
    stored.push_back({module + names[i], shape.empty() ? 0 : shape[0]});
    sum += stored.back().channels;
  }
  return sum == own[0] + own[1] + own[2] ? stored : parts;
}

Value separate_mixed(BlockBuilder& b, Value x, const checkpoint::WeightSource& weights, const std::string& module,
                     const DeltaSizes& s) {
  const Value query = b.linear(x, Role::Query, module + ".q_proj", s.keys()),
              key = b.linear(x, Role::Key, module + ".k_proj", s.keys()),
              value = b.linear(x, Role::Value, module + ".v_proj", s.values());
  return b.convolution(b.join({query, key, value}, 1), convolution_parts(b, weights, module, s), s.kernel, false,
                       s.activation);
}

}  // namespace

// Attention with norms behind; delta nets with norms before, whose states may turn over.
ModelProgram describe_olmo_hybrid(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const Sizes s = sizes_of(config);
  const DeltaSizes d = delta_sizes(config);
  const std::vector<bool> attends = attending(config, 4);
  ModelProgram model =
      model_around(config, s.hidden, "model.embed_tokens", rms_norm("model.norm", s.hidden, s.epsilon), false);
  const Json* rope = config.find("rope_parameters");
  const bool turns = config.find("rope_theta") != nullptr && rope == nullptr || (rope != nullptr && rope->is_object());
  if (turns) model.ropes = {rope_of(config, s.head_size, 10000)};
  AttentionTraits attention;
  if (!turns) attention.rope.reset();
  attention.input_biases = attention.output_bias = config.flag_or("attention_bias", false);
  attention.query_norm = rms_norm("q_norm", s.heads * s.head_size, s.epsilon);
  attention.key_norm = rms_norm("k_norm", s.kv_heads * s.head_size, s.epsilon);
  const std::string module = "linear_attn";
  const auto norm = [&](const char* name) { return rms_norm(name, s.hidden, s.epsilon); };
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    BlockBuilder b(cat("model.layers.", layer, "."), s.hidden);
    if (attends[size_t(layer)]) {
      // transformers writes it under the name that layers with a delta net have for theirs.
      const bool renamed = !weights.shape(b.prefix() + "feedforward_layer_norm.weight").empty();
      const Value mixed = self_attention(b, kStream, s, attention);
      b.add(b.norm(mixed, norm(renamed ? "feedforward_layer_norm" : "post_attention_layernorm")));
      b.add(b.norm(gated_mlp(b, kStream, "mlp.", s.inner, s.activation), norm("post_feedforward_layernorm")));
    } else {
      const Value x = b.norm(kStream, norm("attention_layer_norm"));
      DeltaParts parts{separate_mixed(b, x, weights, module, d), -1, -1, -1};
      parts.gate = b.linear(x, Role::Recurrence, module + ".a_proj", d.value_heads);
      parts.beta = b.linear(x, Role::Recurrence, module + ".b_proj", d.value_heads);
      parts.output_gate = b.linear(x, Role::Recurrence, module + ".g_proj", d.values());
      parts.beta_factor = config.flag_or("linear_allow_neg_eigval", true) ? 2 : 1;
      parts.norm = "o_norm";
      parts.norm_epsilon = 1e-5;
      b.add(b.linear(delta_rule(b, module, d, parts), Role::Output, module + ".o_proj", s.hidden));
      b.add(gated_mlp(b, b.norm(kStream, norm("feedforward_layer_norm")), "mlp.", s.inner, s.activation));
    }
    model.blocks.push_back(b.finish());
  }
  return model;
}

namespace {

struct Kimi {
  DeltaSizes delta;
  std::vector<bool> attends;
};

// As published (linear_attn_config, layers counted from 1), or as transformers writes it.
Kimi kimi_sizes(const ConfigFields& config) {
  const int64_t layers = config.size("num_hidden_layers", kMostLayers);
  const Json* nested = config.json().find("linear_attn_config");
  const bool published = nested != nullptr && nested->is_object();
  const ConfigFields fields(published ? *nested : config.json());
  Kimi out{};
  DeltaSizes& d = out.delta;
  d.key_heads = d.value_heads = fields.size(published ? "num_heads" : "linear_num_heads", 65536);
  d.key_size = d.value_size = fields.size(published ? "head_dim" : "linear_head_dim", 65536);
  d.kernel = fields.size_or(published ? "short_conv_kernel_size" : "linear_conv_kernel_dim", 4, 1024);
  d.epsilon = config.positive_or("rms_norm_eps", 1e-5);
  d.activation = config.activation("hidden_act", "silu");
  const std::vector<std::string> types = config.texts("layer_types", layers);
  if (published) {
    const std::set<int64_t> full = layer_set(fields, "full_attn_layers");
    for (int64_t layer = 0; layer < layers; ++layer) out.attends.push_back(full.contains(layer + 1));
  } else {
    for (int64_t layer = 0; layer < layers; ++layer)
      out.attends.push_back(types.empty() ? layer > 0 && layer % 4 == 0 : types[size_t(layer)] == "full_attention");
  }
  return out;
}

SharedExperts kimi_experts(const ConfigFields& config) {
  const Json renamed = config.renamed({{"num_experts", "n_routed_experts"},
                                       {"num_shared_experts", "n_shared_experts"},
                                       {"num_experts_per_token", "num_experts_per_tok"},
                                       {"num_expert_group", "n_group"},
                                       {"moe_renormalize", "norm_topk_prob"}});
  const ConfigFields fields(renamed);
  SharedExperts out = shared_experts(fields, RouterKind::Sigmoid);
  out.rules.router.name = "block_sparse_moe.gate";
  out.rules.router_bias = "block_sparse_moe.gate.e_score_correction_bias";
  const std::vector<std::string> kinds = config.texts("mlp_layer_types", config.size("num_hidden_layers", kMostLayers));
  if (kinds.empty()) out.dense = config.whole_or("first_k_dense_replace", 1);
  if (!kinds.empty()) out.dense = std::find(kinds.begin(), kinds.end(), "sparse") - kinds.begin();
  return out;
}

Value kimi_mixer(BlockBuilder& b, Value x, const checkpoint::WeightSource& weights, const DeltaSizes& d) {
  const std::string at = "self_attn";
  const auto narrow = [&](const char* name) { return b.linear(x, Role::Latent, cat(at, name), d.key_size); };
  DeltaParts parts{separate_mixed(b, x, weights, at, d), -1, -1, -1};
  const Value forget = narrow(".f_a_proj");
  parts.beta = b.linear(x, Role::Recurrence, at + ".b_proj", d.value_heads);
  const Value output = narrow(".g_a_proj");
  parts.gate = b.linear(forget, Role::Recurrence, at + ".f_b_proj", d.keys());
  parts.output_gate = b.linear(output, Role::Recurrence, at + ".g_b_proj", d.values());
  parts.norm = "o_norm";
  parts.norm_epsilon = d.epsilon;
  parts.output_activation = Activation::Sigmoid;
  parts.rates_shape = {1, 1, d.value_heads, 1};
  return b.linear(delta_rule(b, at, d, parts), Role::Output, at + ".o_proj", b.width(kStream));
}

}  // namespace

ModelProgram describe_kimi_linear(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  static constexpr const char* kNames[3] = {"w1", "w3", "w2"};
  const Kimi kimi = kimi_sizes(config);
  const SharedExperts mixture = kimi_experts(config);
  LatentSizes latent = latent_sizes(config);
  latent.epsilon = 1e-6;  // of its norms, whatever the config says of the others
  latent.turns = false;
  const int64_t inner = config.size("intermediate_size");
  LlamaTraits traits;
  traits.default_epsilon = 1e-5;
  traits.mixer = [&](BlockBuilder& b, Value x, int64_t layer) {
    return kimi.attends[size_t(layer)] ? latent_attention(b, x, latent) : kimi_mixer(b, x, weights, kimi.delta);
  };
  traits.mlp = [&](BlockBuilder& b, Value x, int64_t layer) {
    const std::string at = "block_sparse_moe.";
    if (layer < mixture.dense) {
      const bool renamed = !weights.shape(b.prefix() + "mlp.up_proj.weight").empty() ||
                           !weights.shape(b.prefix() + "mlp.up_proj.weight_packed").empty();
      return gated_mlp(b, x, renamed ? "mlp." : at, inner, mixture.activation);
    }
    b.add(gated_mlp(b, x, at + "shared_experts.", mixture.shared_inner, mixture.activation));
    return b.experts(x, mixture.rules, mixture.inner,
                     expert_names(b, weights, at + "experts.", kNames, "block_sparse_moe.experts"));
  };
  ModelProgram model = describe_llama_like(config, traits);
  model.ropes.clear();  // nothing turns
  model.max_positions = config.size_or("model_max_length", model.max_positions, int64_t{1} << 40);
  return model;
}

}  // namespace swage::model
