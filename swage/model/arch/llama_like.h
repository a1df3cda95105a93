// What the Llama family has in common: RMSNorm before attention and MLP, rotary embedding, gated MLP, and these names.
#pragma once
#include <functional>

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
  double default_epsilon = 1e-6;
  double embedding_scale = 1, residual_scale = 1, logit_scale = 1;
  std::function<int64_t(int64_t layer)> window;  // none: no sliding window
  std::function<bool(int64_t layer)> rope;       // none: on every layer
  // The block's MLP where it is not the gated one of `intermediate_size`; returns what is added to the stream.
  std::function<graph::Value(graph::BlockBuilder& b, graph::Value x, int64_t layer)> mlp;
};

graph::ModelProgram describe_llama_like(const ConfigFields& config, const LlamaTraits& traits);

// attention_bias and mlp_bias of the config.
LlamaTraits traits_from_biases(const ConfigFields& config);

// A Hunyuan with these traits.
graph::ModelProgram describe_hunyuan(const ConfigFields& config, LlamaTraits traits);

// Granite's multipliers.
LlamaTraits granite_traits(const ConfigFields& config);

// The window of Qwen configs, layer by layer: `layer_types` if there, else from max_window_layers on; 0 unless
// use_sliding_window is set.
std::function<int64_t(int64_t)> qwen_windows(const ConfigFields& config);

}  // namespace swage::model
