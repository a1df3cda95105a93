// Attention and state spaces in one model: Bamba, Falcon-H1 (arXiv:2507.22448), Jamba (arXiv:2403.19887), Granite 4,
// LFM2 (arXiv:2511.23404; convolutions alone).
#include <algorithm>

#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/llama_like.h"
#include "swage/model/arch/mixers.h"
#include "swage/model/arch/shared_experts.h"

namespace swage::model {

using namespace graph;

namespace {

// Which layers attend: `layer_types`, else those that `attends` names.
std::vector<bool> attending(const ConfigFields& config, const std::function<bool(int64_t layer)>& attends) {
  const int64_t layers = config.size("num_hidden_layers", kMostLayers);
  const char* key = config.json().find("layer_types") != nullptr ? "layer_types" : "layers_block_type";
  const std::vector<std::string> types = config.texts(key, layers);
  std::vector<bool> out;
  for (int64_t layer = 0; layer < layers; ++layer)
    out.push_back(types.empty() ? attends(layer)
                                : types[size_t(layer)] == "full_attention" || types[size_t(layer)] == "attention");
  return out;
}

// Norms and MLP of Bamba's kind.
LlamaTraits bamba_traits(const ConfigFields& config) {
  LlamaTraits traits = traits_from_biases(config);
  traits.norm_names[1] = "pre_ff_layernorm";
  traits.final_norm = "model.final_layernorm";
  const int64_t inner = config.size("intermediate_size");
  const Activation activation = config.activation("hidden_act", "silu");
  traits.mlp = [=, biases = traits.mlp_biases](BlockBuilder& b, Value x, int64_t) {
    return gated_mlp(b, x, "feed_forward.", inner, activation, biases);
  };
  return traits;
}

}  // namespace

ModelProgram describe_bamba(const ConfigFields& config, const checkpoint::WeightSource&) {
  LlamaTraits traits = bamba_traits(config);
  traits.default_epsilon = 1e-5;
  traits.rope_form.partial = 0.5;
  const std::set<int64_t> listed = layer_set(config, "attn_layer_indices");
  const std::vector<bool> attends = attending(config, [&](int64_t layer) { return listed.contains(layer); });
  const Mamba2Sizes s = mamba2_sizes(config, config.positive_or("rms_norm_eps", 1e-5));
  traits.mixer = [=](BlockBuilder& b, Value x, int64_t layer) {
    return attends[size_t(layer)] ? -1 : mamba2_mixer(b, x, "mamba", s);
  };
  return describe_llama_like(config, traits);
}

// Attention and a state space side by side in each layer, and multipliers everywhere.
ModelProgram describe_falcon_h1(const ConfigFields& config, const checkpoint::WeightSource&) {
  LlamaTraits traits = bamba_traits(config);
  traits.default_epsilon = 1e-5;
  traits.default_theta = 100000;
  traits.embedding_scale = config.positive_or("embedding_multiplier", 1);
  traits.logit_scale = config.positive_or("lm_head_multiplier", 1);
  const Sizes sizes = sizes_of(config, {.default_epsilon = 1e-5});
  AttentionTraits attention = traits.attention;
  attention.input_scale = config.positive_or("attention_in_multiplier", 1);
  attention.key_scale = config.positive_or("key_multiplier", 1);
  attention.output_scale = config.positive_or("attention_out_multiplier", 1);
  Mamba2Sizes s = mamba2_sizes(config, sizes.epsilon);
  s.output_bias = config.flag_or("projectors_bias", s.bias);
  s.input_scale = config.positive_or("ssm_in_multiplier", 1);
  s.output_scale = config.positive_or("ssm_out_multiplier", 1);
  if (config.json().find("ssm_multipliers") != nullptr) {
    const std::vector<double> scales = config.positives("ssm_multipliers", 5);
    std::copy(scales.begin(), scales.end(), s.scales);
  }
  s.norm = !config.flag_or("mamba_rms_norm", false)         ? Mamba2Sizes::Norm::None
           : config.flag_or("mamba_norm_before_gate", true) ? Mamba2Sizes::Norm::BeforeGate
                                                            : Mamba2Sizes::Norm::BehindGate;
  s.norm_groups = s.groups;
  traits.mixer = [=](BlockBuilder& b, Value x, int64_t) {
    b.add(mamba2_mixer(b, x, "mamba", s));
    return self_attention(b, x, sizes, attention);
  };
  const std::vector<double> scales = config.json().find("mlp_multipliers") == nullptr
                                         ? std::vector<double>{1, 1}
                                         : config.positives("mlp_multipliers", 2);
  traits.mlp = [=, biases = traits.mlp_biases](BlockBuilder& b, Value x, int64_t) {
    const Value gate = b.linear(x, Role::Gate, "feed_forward.gate_proj", sizes.inner, biases),
                up = b.linear(x, Role::Up, "feed_forward.up_proj", sizes.inner, biases);
    const Value inside = b.gate(b.scale(gate, scales[0]), up, sizes.activation);
    return b.scale(b.linear(inside, Role::Down, "feed_forward.down_proj", sizes.hidden, biases), scales[1]);
  };
  return describe_llama_like(config, traits);
}

// No rotary embedding; a mixture in every other layer.
ModelProgram describe_jamba(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  LlamaTraits traits = bamba_traits(config);
  traits.attention.rope.reset();
  const int64_t hidden = config.size("hidden_size"), period = config.size_or("attn_layer_period", 8),
                offset = config.whole_or("attn_layer_offset", 4), step = config.size_or("expert_layer_period", 2),
                first = config.whole_or("expert_layer_offset", 1), inner = config.size("intermediate_size"),
                experts = config.size_or("num_experts", 16, kMostExperts);
  const std::vector<bool> attends = attending(config, [=](int64_t layer) { return layer % period == offset; });
  SWAGE_CHECK(int64_t(attends.size()) * experts <= kMostModules, CorruptData, "config.json: num_hidden_layers ",
              attends.size(), " times num_experts ", experts, " is too large");
  const Json* rank = config.json().find("mamba_dt_rank");
  MambaSizes s{};
  s.inner = config.size_or("mamba_expand", 2, 64) * hidden;
  s.state = config.size_or("mamba_d_state", 16, 65536);
  s.kernel = config.size_or("mamba_d_conv", 4, 1024);
  s.rank = rank != nullptr && rank->is_int() ? config.size("mamba_dt_rank") : (hidden + 15) / 16;
  s.bias = config.flag_or("mamba_proj_bias", false);
  s.conv_bias = config.flag_or("mamba_conv_bias", true);
  s.activation = config.activation("hidden_act", "silu");
  s.norms = MambaSizes::Norms::Weighted;
  s.epsilon = config.positive_or("rms_norm_eps", 1e-6);
  traits.mixer = [=](BlockBuilder& b, Value x, int64_t layer) {
    return attends[size_t(layer)] ? -1 : mamba_mixer(b, x, "mamba", s);
  };
  traits.mlp = [&, dense = traits.mlp](BlockBuilder& b, Value x, int64_t layer) {
    if (experts == 1 || layer % step != first) return dense(b, x, layer);
    ExpertsNode form{};
    form.router = {"feed_forward.router", Role::Router, experts};
    form.top_k = config.size_or("num_experts_per_tok", 2, experts);
    form.renormalise = false;
    form.gating.activation = s.activation;
    return b.experts(x, std::move(form), inner,
                     expert_names(b, weights, "feed_forward.experts.", kMlpNames, "feed_forward.experts"));
  };
  return describe_llama_like(config, traits);
}

ModelProgram describe_granitemoehybrid(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  LlamaTraits traits = granite_traits(config);
  if (config.text_or("position_embedding_type", "nope") != "rope") traits.attention.rope.reset();
  const std::vector<bool> attends = attending(config, [](int64_t) { return false; });
  const bool spaces = std::find(attends.begin(), attends.end(), false) != attends.end();
  const Mamba2Sizes s = spaces ? mamba2_sizes(config, config.positive_or("rms_norm_eps", 1e-6)) : Mamba2Sizes{};
  traits.mixer = [=](BlockBuilder& b, Value x, int64_t layer) {
    return attends[size_t(layer)] ? -1 : mamba2_mixer(b, x, "mamba", s);
  };
  const double residual_scale = traits.residual_scale;
  traits.mlp = [&, residual_scale](BlockBuilder& b, Value x, int64_t) {
    return granite_mixture(b, x, config, weights, residual_scale);
  };
  return describe_llama_like(config, traits);
}

namespace {

constexpr const char* kLfm2Names[3] = {"w1", "w3", "w2"};

// A convolution over few tokens between two gates.
Value short_convolution(BlockBuilder& b, Value x, int64_t kernel, bool bias) {
  const int64_t hidden = b.width(kStream);
  const std::vector<Value> parts =
      b.split(b.linear(x, Role::Recurrence, "conv.in_proj", 3 * hidden, bias), {hidden, hidden, hidden});
  const Value inside = b.convolution(b.gate(parts[0], parts[2], Activation::Identity), {{"conv.conv", hidden}}, kernel,
                                     bias, Activation::Identity);
  return b.linear(b.gate(parts[1], inside, Activation::Identity), Role::Output, "conv.out_proj", hidden, bias);
}

LlamaTraits lfm2_traits(const ConfigFields& config) {
  LlamaTraits traits;
  traits.epsilon_key = "norm_eps";
  traits.default_epsilon = 1e-5;
  traits.default_theta = 1000000;
  traits.tied_by_default = true;
  traits.norm_names[0] = "operator_norm";
  traits.norm_names[1] = "ffn_norm";
  traits.final_norm = "model.embedding_norm";
  traits.attention.names[3] = "out_proj";
  const Sizes s = sizes_of(config, {.epsilon = "norm_eps", .default_epsilon = 1e-5});
  traits.attention.query_norm = rms_norm("q_layernorm", s.head_size, s.epsilon);
  traits.attention.key_norm = rms_norm("k_layernorm", s.head_size, s.epsilon);
  const std::set<int64_t> listed = layer_set(config, "full_attn_idxs");
  const std::vector<bool> attends = attending(config, [&](int64_t layer) { return listed.contains(layer); });
  const int64_t kernel = config.size_or("conv_L_cache", 3, 1024);
  const bool bias = config.flag_or("conv_bias", false);
  traits.mixer = [=](BlockBuilder& b, Value x, int64_t layer) {
    return attends[size_t(layer)] ? -1 : short_convolution(b, x, kernel, bias);
  };
  return traits;
}

}  // namespace

ModelProgram describe_lfm2(const ConfigFields& given, const checkpoint::WeightSource&) {
  Json fields = given.json();
  if (fields.find("intermediate_size") == nullptr) {
    const bool older = fields.find("block_ff_dim") != nullptr;
    fields.set("intermediate_size", given.size(older ? "block_ff_dim" : "intermediate_size"));
  }
  const ConfigFields config(fields);
  LlamaTraits traits = lfm2_traits(config);
  int64_t inner = config.size("intermediate_size");
  if (config.flag_or("block_auto_adjust_ff_dim", true)) {  // two thirds, in whole multiples
    const int64_t multiple = config.size_or("block_multiple_of", 256);
    inner =
        static_cast<int64_t>(config.positive_or("block_ffn_dim_multiplier", 1) * static_cast<double>(2 * inner / 3));
    inner = (inner + multiple - 1) / multiple * multiple;
  }
  traits.mlp = [inner](BlockBuilder& b, Value x, int64_t) {
    return gated_mlp(b, x, "feed_forward.", inner, Activation::Silu, false, kLfm2Names);
  };
  return describe_llama_like(config, traits);
}

ModelProgram describe_lfm2_moe(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  LlamaTraits traits = lfm2_traits(config);
  const int64_t inner = config.size("intermediate_size"), moe_inner = config.size("moe_intermediate_size"),
                experts = config.size("num_experts", kMostExperts),
                top_k = config.size_or("num_experts_per_tok", 4, experts),
                dense = config.whole_or("num_dense_layers", 2);
  SWAGE_CHECK(config.size("num_hidden_layers", kMostLayers) * experts <= kMostModules, CorruptData,
              "config.json: num_hidden_layers times num_experts ", experts, " is too large");
  traits.mlp = [&](BlockBuilder& b, Value x, int64_t layer) {
    if (layer < dense) return gated_mlp(b, x, "feed_forward.", inner, Activation::Silu, false, kLfm2Names);
    ExpertsNode form{};
    form.router = {"feed_forward.gate", Role::Router, experts};
    form.kind = RouterKind::Sigmoid;
    if (config.flag_or("use_expert_bias", true)) form.router_bias = "feed_forward.expert_bias";
    form.top_k = top_k;
    form.renormalise = config.flag_or("norm_topk_prob", true);
    form.factor = config.positive_or("routed_scaling_factor", 1);
    return b.experts(x, std::move(form), moe_inner,
                     expert_names(b, weights, "feed_forward.experts.", kLfm2Names, "feed_forward.experts"));
  };
  return describe_llama_like(config, traits);
}

}  // namespace swage::model
