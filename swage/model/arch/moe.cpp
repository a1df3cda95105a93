// Mixtral, Qwen2-MoE, Qwen3-MoE and OLMoE: the Llama family with a mixture of experts for MLP. Experts lie in the
// checkpoint one by one, or all in two 3-D tensors; either way they are linears of their own here.
#include <cmath>
#include <set>

#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/llama_like.h"
#include "swage/model/arch/shared_experts.h"

namespace swage::model {

using namespace graph;

namespace {

struct MoeSizes {
  int64_t hidden, inner, experts, top_k;
  Activation activation;
  bool renormalise;
};

MoeSizes moe_sizes(const ConfigFields& config, const char* inner_key, bool renormalise) {
  MoeSizes sizes{};
  sizes.hidden = config.size("hidden_size");
  sizes.inner = config.size(inner_key);
  const char* key = config.json().find("num_experts") ? "num_experts" : "num_local_experts";
  sizes.experts = config.size(key, kMostExperts);
  sizes.top_k = config.size_or("num_experts_per_tok", 2, kMostExperts);
  SWAGE_CHECK(sizes.top_k <= sizes.experts, CorruptData, "config.json: num_experts_per_tok ", sizes.top_k,
              " is more than ", key, " ", sizes.experts);
  const int64_t layers = config.size("num_hidden_layers", kMostLayers);
  SWAGE_CHECK(layers * sizes.experts <= kMostModules, CorruptData, "config.json: num_hidden_layers ", layers, " times ",
              key, " ", sizes.experts, " is too large");
  sizes.activation = config.activation("hidden_act", "silu");
  sizes.renormalise = renormalise;
  return sizes;
}

// Names of a mixture, relative to its block; `fused`: of 3-D tensors, if the checkpoint has such.
struct MoeNames {
  std::string router, experts;
  const char* const* linears;  // gate, up, down
  std::string fused;
};

Value add_moe(BlockBuilder& b, Value x, const MoeSizes& sizes, const MoeNames& names,
              const checkpoint::WeightSource& weights) {
  ExpertsNode form{};
  form.router = {names.router, Role::Router, sizes.experts};
  form.top_k = sizes.top_k;
  form.renormalise = sizes.renormalise;
  form.gating.activation = sizes.activation;
  return b.experts(x, std::move(form), sizes.inner,
                   expert_names(b, weights, names.experts, names.linears, names.fused));
}

}  // namespace

std::set<int64_t> layer_set(const ConfigFields& config, const char* key) {
  std::set<int64_t> layers;
  const Json* list = config.json().find(key);
  if (!list || list->is_null()) return layers;
  SWAGE_CHECK(list->is_array(), CorruptData, "config.json: ", key, " must be a list of layers");
  for (const Json& item : list->as_array()) {
    SWAGE_CHECK(item.is_int(), CorruptData, "config.json: ", key, " holds ", item.dump(), ", not a layer's number");
    layers.insert(item.as_int());
  }
  return layers;
}

ModelProgram describe_mixtral(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  static constexpr const char* kNames[3] = {"w1", "w3", "w2"};
  const MoeSizes sizes = moe_sizes(config, "intermediate_size", true);
  const int64_t window = config.size_or("sliding_window", 0, int64_t{1} << 40);
  LlamaTraits traits;
  traits.default_theta = 1000000;
  traits.window = [window](int64_t) { return window; };
  traits.mlp = [&](BlockBuilder& b, Value x, int64_t) {
    const auto has = [&](const char* name) { return !weights.shape(b.prefix() + name).empty(); };
    const bool renamed = !has("block_sparse_moe.gate.weight") && has("mlp.gate.weight");
    return add_moe(b, x, sizes,
                   {renamed ? "mlp.gate" : "block_sparse_moe.gate", "block_sparse_moe.experts.", kNames, "mlp.experts"},
                   weights);
  };
  return describe_llama_like(config, traits);
}

ModelProgram describe_qwen3_moe(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const MoeSizes sizes = moe_sizes(config, "moe_intermediate_size", config.flag_or("norm_topk_prob", false));
  const int64_t dense_inner = config.size("intermediate_size"), step = config.size_or("decoder_sparse_step", 1);
  const std::set<int64_t> dense = layer_set(config, "mlp_only_layers");
  LlamaTraits traits;
  traits.attention.input_biases = traits.attention.output_bias = config.flag_or("attention_bias", false);
  traits.head_norms = true;
  const bool slides = config.flag_or("use_sliding_window", false);
  const int64_t window = slides ? config.size_or("sliding_window", 4096, int64_t{1} << 40) : 0;
  traits.window = [window](int64_t) { return window; };
  traits.mlp = [&](BlockBuilder& b, Value x, int64_t layer) {
    if (dense.count(layer) || (layer + 1) % step != 0) return gated_mlp(b, x, "mlp.", dense_inner, sizes.activation);
    return add_moe(b, x, sizes, {"mlp.gate", "mlp.experts.", kMlpNames, "mlp.experts"}, weights);
  };
  return describe_llama_like(config, traits);
}

Value gated_shared_experts(BlockBuilder& b, Value x, const ConfigFields& config,
                           const checkpoint::WeightSource& weights) {
  const MoeSizes sizes = moe_sizes(config, "moe_intermediate_size", config.flag_or("norm_topk_prob", false));
  const int64_t shared = config.size("shared_expert_intermediate_size");
  const Value gate =
      b.linear(x, {.name = "mlp.shared_expert_gate", .role = Role::Router, .rows = 1, .keeps_float = true});
  const Value common = gated_mlp(b, x, "mlp.shared_expert.", shared, sizes.activation);
  b.add(b.gate(gate, common, Activation::Sigmoid));
  return add_moe(b, x, sizes, {"mlp.gate", "mlp.experts.", kMlpNames, "mlp.experts"}, weights);
}

// A shared expert beside the routed ones, which a gate of one row weights.
ModelProgram describe_qwen2_moe(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const MoeSizes sizes = moe_sizes(config, "moe_intermediate_size", config.flag_or("norm_topk_prob", false));
  const int64_t dense_inner = config.size("intermediate_size"), step = config.size_or("decoder_sparse_step", 1);
  const std::set<int64_t> dense = layer_set(config, "mlp_only_layers");
  LlamaTraits traits;
  traits.attention.input_biases = config.flag_or("qkv_bias", true);
  traits.window = qwen_windows(config);
  traits.mlp = [&](BlockBuilder& b, Value x, int64_t layer) {
    if (dense.count(layer) || (layer + 1) % step != 0) return gated_mlp(b, x, "mlp.", dense_inner, sizes.activation);
    return gated_shared_experts(b, x, config, weights);
  };
  return describe_llama_like(config, traits);
}

// Norms over all queries and keys.
ModelProgram describe_olmoe(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const MoeSizes sizes = moe_sizes(config, "intermediate_size", config.flag_or("norm_topk_prob", false));
  const Sizes s = sizes_of(config, {.default_epsilon = 1e-5});
  LlamaTraits traits;
  traits.default_epsilon = 1e-5;
  traits.attention.input_biases = traits.attention.output_bias = config.flag_or("attention_bias", false);
  traits.attention.query_norm = rms_norm("q_norm", s.heads * s.head_size, s.epsilon);
  traits.attention.key_norm = rms_norm("k_norm", s.kv_heads * s.head_size, s.epsilon);
  SWAGE_CHECK(config.positive_or("clip_qkv", 0) == 0, Unsupported, "config.json: clip_qkv is not supported for OLMoE");
  traits.mlp = [&](BlockBuilder& b, Value x, int64_t) {
    return add_moe(b, x, sizes, {"mlp.gate", "mlp.experts.", kMlpNames, "mlp.experts"}, weights);
  };
  return describe_llama_like(config, traits);
}

namespace {

// Layers of the Llama kind before `dense`, then with a mixture as DeepSeek's.
ModelProgram describe_with_shared_experts(const ConfigFields& config, const checkpoint::WeightSource& weights,
                                          LlamaTraits traits) {
  const SharedExperts mixture = shared_experts(config, RouterKind::Sigmoid);
  const int64_t inner = config.size("intermediate_size");
  traits.mlp = [&, inner](BlockBuilder& b, Value x, int64_t layer) {
    return layer < mixture.dense ? gated_mlp(b, x, "mlp.", inner, mixture.activation)
                                 : add_experts(b, x, mixture, weights);
  };
  return describe_llama_like(config, traits);
}

}  // namespace

ModelProgram describe_dots1(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  LlamaTraits traits = traits_from_biases(config);
  traits.head_norms = true;
  const int64_t layers = config.size("num_hidden_layers", kMostLayers),
                window = config.size_or("sliding_window", 4096, int64_t{1} << 40);
  const std::vector<int64_t> windows = windows_of(config, layers, window, [](int64_t) { return false; });
  traits.window = [windows](int64_t layer) { return windows[static_cast<size_t>(layer)]; };
  return describe_with_shared_experts(config, weights, traits);
}

// GLM 4.5 and 4.6.
ModelProgram describe_glm4_moe(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  LlamaTraits traits;
  traits.default_epsilon = 1e-5;
  traits.attention.input_biases = config.flag_or("attention_bias", false);
  traits.head_norms = config.flag_or("use_qk_norm", false);
  traits.rope_form.partial = 0.5;
  return describe_with_shared_experts(config, weights, traits);
}

ModelProgram describe_solar_open(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  LlamaTraits traits = traits_from_biases(config);
  traits.default_epsilon = 1e-5;
  traits.rope_form.partial = 1;
  Json fields = config.json();  // there is no layer without a mixture, and its width may be left out
  if (fields.find("intermediate_size") == nullptr)
    fields.set("intermediate_size", config.size("moe_intermediate_size"));
  return describe_with_shared_experts(ConfigFields(fields), weights, traits);
}

// Experts are stored fused, or apart as swage writes them quantized; a shared one, if there is, beside them.
Value granite_mixture(BlockBuilder& b, Value x, const ConfigFields& config, const checkpoint::WeightSource& weights,
                      double residual_scale) {
  const int64_t shared =
      config.whole_or("shared_intermediate_size", 0) == 0 ? 0 : config.size_or("shared_intermediate_size", 0);
  const Activation activation = config.activation("hidden_act", "silu");
  const bool routes = config.whole_or("num_local_experts", 0) > 0;
  Value common = -1;
  if (shared > 0) {
    const std::vector<Value> parts =
        b.split(b.linear(x, Role::GateUp, "shared_mlp.input_linear", 2 * shared), {shared, shared});
    common = b.linear(b.gate(parts[0], parts[1], activation), Role::Down, "shared_mlp.output_linear", b.width(kStream));
    if (!routes) return common;
    b.add(b.scale(common, residual_scale));
  }
  const MoeSizes sizes = moe_sizes(config, "intermediate_size", true);
  ExpertsNode form{};
  form.router = {"block_sparse_moe.router.layer", Role::Router, sizes.experts};
  form.top_k = sizes.top_k;
  form.gating.activation = sizes.activation;
  const std::string experts = "block_sparse_moe.experts.";
  const bool apart = !weights.shape(b.prefix() + experts + "0." + kMlpNames[0] + ".weight").empty();
  if (apart) return b.experts(x, std::move(form), sizes.inner, {experts, kMlpNames});
  return b.experts(
      x, std::move(form), sizes.inner,
      {experts, kMlpNames, "block_sparse_moe.input_linear.weight", "block_sparse_moe.output_linear.weight"});
}

ModelProgram describe_granitemoe(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  LlamaTraits traits = granite_traits(config);
  const double residual_scale = traits.residual_scale;
  traits.mlp = [&](BlockBuilder& b, Value x, int64_t) {
    return granite_mixture(b, x, config, weights, residual_scale);
  };
  return describe_llama_like(config, traits);
}

// ERNIE 4.5 with experts in some layers, and shared ones beside them.
ModelProgram describe_ernie4_5_moe(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const Json renamed = config.renamed({{"moe_num_experts", "num_experts"}, {"moe_k", "num_experts_per_tok"}});
  const MoeSizes sizes = moe_sizes(ConfigFields(renamed), "moe_intermediate_size", true);
  const int64_t inner = config.size("intermediate_size"), step = config.size_or("moe_layer_interval", 1),
                first = config.whole_or("moe_layer_start_index", 1),
                shared = config.whole_or("moe_num_shared_experts", 0) * sizes.inner;
  const int64_t end = config.whole_or("moe_layer_end_index", -1);
  const int64_t last = end < 0 ? config.size("num_hidden_layers", kMostLayers) - 1 : end;
  SWAGE_CHECK(shared >= 0 && shared <= kLargestSize, CorruptData, "config.json: moe_num_shared_experts of ",
              sizes.inner, " numbers each make ", shared, ", too many or too few");
  const bool biases = config.flag_or("use_bias", false);
  LlamaTraits traits = ernie_traits(config);
  traits.mlp = [&](BlockBuilder& b, Value x, int64_t layer) {
    if ((layer + 1) % step != 0 || layer < first || layer > last)
      return gated_mlp(b, x, "mlp.", inner, sizes.activation, biases);
    if (shared > 0) b.add(gated_mlp(b, x, "mlp.shared_experts.", shared, sizes.activation, biases));
    ExpertsNode form{};
    form.router = {"mlp.gate", Role::Router, sizes.experts};
    form.router_bias = "mlp.moe_statics.e_score_correction_bias";
    form.bias_is_row = true;
    form.top_k = sizes.top_k;
    form.gating.activation = sizes.activation;
    return b.experts(x, std::move(form), sizes.inner,
                     expert_names(b, weights, "mlp.experts.", kMlpNames, "mlp.experts"));
  };
  return describe_llama_like(config, traits);
}

// Phi 3.5 MoE: LayerNorm, biases in attention, a router that mixes the best two.
ModelProgram describe_phimoe(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  static constexpr const char* kNames[3] = {"w1", "w3", "w2"};
  const MoeSizes sizes = moe_sizes(config, "intermediate_size", false);
  LlamaTraits traits = traits_from_biases(config);
  traits.default_epsilon = 1e-5;
  traits.default_theta = 1000000;
  traits.layer_norms = true;
  const int64_t window = config.size_or("sliding_window", 0, int64_t{1} << 40);
  traits.window = [window](int64_t) { return window; };
  traits.mlp = [&](BlockBuilder& b, Value x, int64_t) {
    ExpertsNode form{};
    form.router = {"block_sparse_moe.gate", Role::Router, sizes.experts};
    form.kind = RouterKind::Mixer;
    form.jitter = config.positive_or("router_jitter_noise", 0.01);
    form.top_k = sizes.top_k;
    form.renormalise = false;
    form.gating.activation = sizes.activation;
    return b.experts(x, std::move(form), sizes.inner,
                     expert_names(b, weights, "block_sparse_moe.experts.", kNames, "block_sparse_moe.experts"));
  };
  ModelProgram model = describe_llama_like(config, traits);
  model.head.bias = config.flag_or("lm_head_bias", false);
  return model;
}

// Trinity: a gate on what attention makes, norms behind, windows in all but every fourth layer, which alone have the
// rotary embedding.
ModelProgram describe_afmoe(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const Json renamed = config.renamed({{"num_experts", "n_routed_experts"},
                                       {"num_shared_experts", "n_shared_experts"},
                                       {"num_dense_layers", "first_k_dense_replace"},
                                       {"route_scale", "routed_scaling_factor"}});
  SharedExperts mixture = shared_experts(ConfigFields(renamed), RouterKind::Sigmoid);
  mixture.rules.router.name = "mlp.router.gate";
  mixture.rules.router_bias = "mlp.expert_bias";
  mixture.rules.renormalise = true;
  LlamaTraits traits = traits_from_biases(config);
  traits.default_epsilon = 1e-5;
  traits.head_norms = true;
  traits.attention.gate = "gate_proj";
  traits.norms_behind[0] = "post_attention_layernorm";
  traits.norm_names[1] = "pre_mlp_layernorm";
  traits.norms_behind[1] = "post_mlp_layernorm";
  const double hidden = double(config.size("hidden_size"));
  if (config.flag_or("mup_enabled", false)) traits.embedding_scale = std::sqrt(hidden);
  const int64_t layers = config.size("num_hidden_layers", kMostLayers), inner = config.size("intermediate_size"),
                window = config.size_or("sliding_window", 1024, int64_t{1} << 40),
                every = config.size_or("global_attn_every_n_layers", 4);
  const std::vector<int64_t> windows =
      windows_of(config, layers, window, [every](int64_t layer) { return (layer + 1) % every != 0; });
  traits.window = [windows](int64_t layer) { return windows[size_t(layer)]; };
  traits.rope = [windows](int64_t layer) { return windows[size_t(layer)] > 0; };
  traits.mlp = [&](BlockBuilder& b, Value x, int64_t layer) {
    if (layer < mixture.dense) return gated_mlp(b, x, "mlp.", inner, mixture.activation);
    return experts_and_shared(b, x, mixture, weights);
  };
  return describe_llama_like(config, traits);
}

ModelProgram describe_minimax_m2(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  static constexpr const char* kNames[3] = {"w1", "w3", "w2"};
  const MoeSizes sizes = moe_sizes(config, "intermediate_size", true);
  const Sizes s = sizes_of(config);
  LlamaTraits traits;
  traits.rope_form.partial = 1;
  traits.attention.query_norm = rms_norm("q_norm", s.heads * s.head_size, s.epsilon);
  traits.attention.key_norm = rms_norm("k_norm", s.kv_heads * s.head_size, s.epsilon);
  traits.mlp = [&](BlockBuilder& b, Value x, int64_t) {
    ExpertsNode form{};
    form.router = {"block_sparse_moe.gate", Role::Router, sizes.experts};
    form.router_bias = "block_sparse_moe.e_score_correction_bias";
    form.kind = RouterKind::Sigmoid;
    form.top_k = sizes.top_k;
    form.gating.activation = sizes.activation;
    return b.experts(x, std::move(form), sizes.inner,
                     expert_names(b, weights, "block_sparse_moe.experts.", kNames, "block_sparse_moe.experts"));
  };
  return describe_llama_like(config, traits);
}

// A shared MLP beside the routed experts.
ModelProgram describe_hunyuan_v1_moe(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const int64_t inner = config.size("intermediate_size"), experts = config.size("num_experts", kMostExperts);
  const int64_t top_k = config.size_or("moe_topk", 1, experts), layers = config.size("num_hidden_layers", kMostLayers);
  SWAGE_CHECK(layers * experts <= kMostModules, CorruptData, "config.json: num_hidden_layers ", layers,
              " times num_experts ", experts, " is too large");
  const Activation activation = config.activation("hidden_act", "silu");
  LlamaTraits traits = traits_from_biases(config);
  traits.mlp = [&](BlockBuilder& b, Value x, int64_t) {
    b.add(gated_mlp(b, x, "mlp.shared_mlp.", inner, activation));
    ExpertsNode form{};
    form.router = {"mlp.gate.wg", Role::Router, experts};
    form.top_k = top_k;
    form.gating.activation = activation;
    return b.experts(x, std::move(form), inner, expert_names(b, weights, "mlp.experts.", kMlpNames, "mlp.experts"));
  };
  return describe_hunyuan(config, traits);
}

// K-EXAONE: a Llama with norms of each head, windows in three of four layers, which alone have the rotary embedding.
ModelProgram describe_exaone_moe(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  LlamaTraits traits;
  traits.default_epsilon = 1e-5;
  traits.head_norms = true;
  const int64_t layers = config.size("num_hidden_layers", kMostLayers);
  const int64_t window = config.size_or("sliding_window", 0, int64_t{1} << 40);
  const std::vector<int64_t> windows =
      windows_of(config, layers, window, [](int64_t layer) { return (layer + 1) % 4 != 0; });
  traits.window = [windows](int64_t layer) { return windows[static_cast<size_t>(layer)]; };
  traits.rope = [windows, window](int64_t layer) { return window == 0 || windows[static_cast<size_t>(layer)] > 0; };
  const Json renamed =
      config.renamed({{"num_experts", "n_routed_experts"}, {"num_shared_experts", "n_shared_experts"}});
  SharedExperts mixture = shared_experts(ConfigFields(renamed), RouterKind::Sigmoid);
  mixture.rules.router_bias = "mlp.e_score_correction_bias";
  const int64_t inner = config.size("intermediate_size");
  traits.mlp = [&](BlockBuilder& b, Value x, int64_t layer) {
    return layer < mixture.dense ? gated_mlp(b, x, "mlp.", inner, mixture.activation)
                                 : add_experts(b, x, mixture, weights);
  };
  return describe_llama_like(config, traits);
}

}  // namespace swage::model
