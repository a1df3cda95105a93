// What the Llama family has in common: RMSNorm before attention and MLP, rotary embedding, gated MLP, and these names.
#pragma once
#include <functional>
#include <set>

#include "swage/model/arch/parts.h"

namespace swage::model {

// How a member of the family differs.
struct LlamaTraits {
  AttentionTraits attention;  // of every layer; its rope and window are set by the functions below, if there are such
  bool mlp_biases = false;    // on gate, up, down
  bool head_norms = false;    // RMSNorm over each head of q and k
  bool tied_by_default = false;
  double default_theta = 10000;
  RopeForm rope_form = {};
  double default_epsilon = 1e-6, norm_offset = 0;
  const char* epsilon_key = "rms_norm_eps";
  const char* final_norm = "model.norm";
  bool layer_norms = false;  // with bias, for RMSNorm
  const char* norm_names[2] = {"input_layernorm", "post_attention_layernorm"};
  const char* norms_behind[2] = {nullptr, nullptr};  // of attention and MLP; null: there are none
  double embedding_scale = 1, residual_scale = 1, logit_scale = 1;
  std::function<int64_t(int64_t layer)> window;  // none: no sliding window
  std::function<bool(int64_t layer)> rope;       // none: on every layer
  // What stands in a layer for its attention; -1: nothing does.
  std::function<graph::Value(graph::BlockBuilder& b, graph::Value x, int64_t layer)> mixer;
  std::function<void(AttentionTraits& attention, int64_t layer)> of_layer;  // changes that of a layer
  // The block's MLP where it is not the gated one of `intermediate_size`; returns what is added to the stream.
  std::function<graph::Value(graph::BlockBuilder& b, graph::Value x, int64_t layer)> mlp;
};

graph::ModelProgram describe_llama_like(const ConfigFields& config, const LlamaTraits& traits);

// What llama_4_scaling_beta of the rotary embedding's fields says; nothing if it is absent.
std::optional<PositionScale> query_growth_of(const ConfigFields& config);

// attention_bias and mlp_bias of the config.
LlamaTraits traits_from_biases(const ConfigFields& config);

// A Hunyuan with these traits.
graph::ModelProgram describe_hunyuan(const ConfigFields& config, LlamaTraits traits);

// Biases, rotary embedding and defaults of ERNIE 4.5.
LlamaTraits ernie_traits(const ConfigFields& config);

// Layers that a list of the config names; empty if there is none.
std::set<int64_t> layer_set(const ConfigFields& config, const char* key);
// Adds Qwen's shared expert, which a gate of one row weights, and returns what the routed ones make.
graph::Value gated_shared_experts(graph::BlockBuilder& b, graph::Value x, const ConfigFields& config,
                                  const checkpoint::WeightSource& weights);
// Adds Granite's shared MLP to the stream and returns what the routed experts make, if there are any.
graph::Value granite_mixture(graph::BlockBuilder& b, graph::Value x, const ConfigFields& config,
                             const checkpoint::WeightSource& weights, double residual_scale);

// Granite's multipliers.
LlamaTraits granite_traits(const ConfigFields& config);

// Layers that have a rotary embedding: `no_rope_layers`, else all but each no_rope_layer_interval-th.
std::vector<bool> rope_layers(const ConfigFields& config);

// The window of Qwen configs, layer by layer: `layer_types` if there, else from max_window_layers on; 0 unless
// use_sliding_window is set.
std::function<int64_t(int64_t)> qwen_windows(const ConfigFields& config);

}  // namespace swage::model
