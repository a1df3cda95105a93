// What the Llama family has in common: RMSNorm before attention and MLP, rotary embedding, gated MLP, and these names.
#pragma once
#include <functional>

#include "swage/checkpoint/weight_source.h"
#include "swage/model/config_fields.h"
#include "swage/model/description.h"

namespace swage::model {

// How a member of the family differs.
struct LlamaTraits {
  bool input_biases = false;  // on q, k, v
  bool output_bias = false;   // on o
  bool mlp_biases = false;    // on gate, up, down
  bool head_norms = false;    // RMSNorm over each head of q and k
  bool tied_by_default = false;
  double default_theta = 10000;
  std::function<int64_t(int64_t layer)> window;  // none: no sliding window
  std::function<bool(int64_t layer)> rope;       // none: on every layer
  // The block's MLP where it is not the gated one of `intermediate_size`; `prefix` is "model.layers.3.".
  std::function<std::variant<MlpDescription, MoeDescription>(int64_t layer, const std::string& prefix)> mlp;
};

ModelDescription describe_llama_like(const ConfigFields& config, const LlamaTraits& traits);

// Linears prefix + gate, up, down of a gated MLP of `inner` columns.
MlpDescription gated_mlp(const std::string& prefix, int64_t hidden, int64_t inner, Activation activation, bool biases, const char* const names[3]);
inline constexpr const char* kLlamaMlpNames[3] = {"gate_proj", "up_proj", "down_proj"};

// The window of Qwen configs, layer by layer: `layer_types` if there, else from max_window_layers on; 0 unless
// use_sliding_window is set.
std::function<int64_t(int64_t)> qwen_windows(const ConfigFields& config);

}  // namespace swage::model
