// Parts that many families share, as calls of a BlockBuilder. A family's file puts them together.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "swage/checkpoint/weight_source.h"
#include "swage/graph/builder.h"
#include "swage/graph/shape.h"
#include "swage/model/config_fields.h"

namespace swage::model {

// Sizes of attention and MLP under the keys that most configs have.
struct Sizes {
  int64_t hidden = 0, heads = 0, kv_heads = 0, head_size = 0, inner = 0, layers = 0;
  double epsilon = 0;
  graph::Activation activation = graph::Activation::Silu;
};
struct SizeKeys {
  const char* epsilon = "rms_norm_eps";
  const char* activation = "hidden_act";
  const char* kv_heads = "num_key_value_heads";
  double default_epsilon = 1e-6;
};
Sizes sizes_of(const ConfigFields& config, const SizeKeys& keys = {});

// Queries times 1 + scale * log(1 + floor((position + offset) / period)).
struct PositionScale {
  double scale, offset, period;
};

// Attention from projections to output.
struct AttentionTraits {
  std::string module = "self_attn";
  const char* names[4] = {"q_proj", "k_proj", "v_proj", "o_proj"};
  bool input_biases = false, output_bias = false;
  std::optional<graph::NormSpec> query_norm = {},
                                 key_norm = {};  // names relative to the module; of all heads together, or each
  bool norms_after_rope = false;
  std::optional<int> rope = 0;  // table; none: no rotary embedding
  bool causal = true;
  int64_t window = 0, chunk = 0;
  std::optional<PositionScale> query_growth = {};
  double scale = 0;  // of the scores; 0: 1 / sqrt(head size)
  double softcap = 0;
  double clip = 0;   // queries, keys and values are limited to [-clip, clip]; 0: they are not
  double alibi = 0;  // factor of its slopes; 0: none
  std::optional<graph::NormSpec> inner_norm = {};  // between attention and output projection
  std::string sinks = {};
  std::string gate = {};        // linear of x whose sigmoid multiplies what attention makes; empty: none
  bool query_has_gate = false;  // that comes out of the linear of queries, head by head behind them
  double input_scale = 1, key_scale = 1, output_scale = 1;  // of x, of keys, and of what comes out
  // One linear `fused` makes queries, keys and values: one after the other, or of each key-value head in turn.
  enum class Fused { No, InTurn, ByHead } fused = Fused::No;
  const char* fused_name = "qkv_proj";
};
graph::Value self_attention(graph::BlockBuilder& b, graph::Value x, const Sizes& sizes, const AttentionTraits& traits);

inline constexpr const char* kMlpNames[3] = {"gate_proj", "up_proj", "down_proj"};
// down(activation(gate(x)) * up(x)); linears are prefix + names.
graph::Value gated_mlp(graph::BlockBuilder& b, graph::Value x, const std::string& prefix, int64_t inner,
                       graph::Activation activation, bool biases = false, const char* const* names = kMlpNames);
// down(activation(up(x)))
graph::Value plain_mlp(graph::BlockBuilder& b, graph::Value x, const std::string& up, const std::string& down,
                       int64_t inner, graph::Activation activation, bool biases);

// Names of experts, which the checkpoint may hold fused: as fused + ".gate_up_proj" and fused + ".down_proj", either
// way round, as the sizes tell.
graph::BlockBuilder::ExpertNames expert_names(const graph::BlockBuilder& b, const checkpoint::WeightSource& weights,
                                              const std::string& experts, const char* const* names,
                                              const std::string& fused);

graph::NormSpec rms_norm(const std::string& name, int64_t size, double epsilon, double offset = 0);
graph::NormSpec layer_norm(const std::string& name, int64_t size, double epsilon, bool bias = true);

// Everything around the blocks. `prefix`: of embedding and final norm; `final_norm` by its whole name.
graph::ModelProgram model_around(const ConfigFields& config, int64_t hidden, const std::string& embedding,
                                 std::optional<graph::NormSpec> final_norm, bool tied_by_default,
                                 const std::string& head = "lm_head");

// Window of each layer of a config with `layer_types` ("sliding_attention"), else by `slides`.
std::vector<int64_t> windows_of(const ConfigFields& config, int64_t layers, int64_t window,
                                const std::function<bool(int64_t layer)>& slides);

// Rotary embeddings of a config whose `rope_parameters` are by layer type: of layers with a window, then of those
// without. Empty for any other config.
std::vector<graph::RopeSpec> ropes_by_layer_type(const ConfigFields& config, int64_t head_size, double local_theta,
                                                 double global_theta);

}  // namespace swage::model
