// Gemma 4 (text): layers with and without window have heads of different sizes, values may be the keys, keys and values
// of the last layers those of earlier ones (2B, 4B), which have a second embedding for each layer; or a mixture beside
// the MLP (26B-A4B).
#include <cmath>
#include <map>

#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/gemma_parts.h"

namespace swage::model {

using namespace graph;

namespace {

struct Kind {  // of a layer: with a window, or without
  int64_t head_size, kv_heads, window;
  int table;
  bool keys_are_values;
  int64_t shared_at = -1;  // of the stream, where keys and then values lie for later layers; -1: nowhere

  int64_t keys() const { return kv_heads * head_size; }
};

struct Gemma4 {
  Sizes sizes;
  std::vector<bool> slides;
  std::map<int64_t, Kind> kinds;  // 1: with window
  int64_t shares_from;            // layers from here on have no keys and values of their own
  int64_t per_layer;              // numbers that the second embedding has for each layer; 0: none
  bool wide_mlp, mixes;

  const Kind& kind(int64_t layer) const { return kinds.at(slides[size_t(layer)] ? 1 : 0); }
  // The last layer of its kind with keys and values of its own: later ones share them.
  bool stores(int64_t layer) const {
    if (layer >= shares_from || shares_from == sizes.layers) return false;
    for (int64_t later = layer + 1; later < shares_from; ++later)
      if (slides[size_t(later)] == slides[size_t(layer)]) return false;
    return true;
  }
};

constexpr int64_t kGlobalHead = 512;  // numbers of a head without a window, unless the config says it

Kind kind_of(const ConfigFields& config, const Sizes& s, const std::vector<bool>& slides, bool sliding) {
  Kind out{s.head_size, s.kv_heads, 0, 1, false};
  if (sliding) {
    out.window = config.size_or("sliding_window", 512, int64_t{1} << 40);
    out.table = 0;
    return out;
  }
  out.keys_are_values = config.flag_or("attention_k_eq_v", false);
  const Json* by_layer = config.find("per_layer_config");
  out.head_size = config.size_or("global_head_dim", by_layer == nullptr ? kGlobalHead : s.head_size, 65536);
  out.kv_heads = config.size_or("num_global_key_value_heads", s.kv_heads, s.heads);
  for (size_t layer = 0; by_layer != nullptr && by_layer->is_object() && layer < slides.size(); ++layer) {
    const Json* own = by_layer->find(std::to_string(layer));
    if (slides[layer] || own == nullptr) continue;
    out.head_size = ConfigFields(*own).size_or("head_dim", out.head_size, 65536);
    out.kv_heads = ConfigFields(*own).size_or("num_key_value_heads", out.kv_heads, s.heads);
  }
  return out;
}

Gemma4 gemma4_sizes(const ConfigFields& config) {
  Gemma4 out{sizes_of(config, {.activation = "hidden_activation"}), {}, {}, 0, 0, false, false};
  Sizes& s = out.sizes;
  if (config.json().find("hidden_activation") == nullptr) s.activation = Activation::GeluTanh;
  for (const int64_t window : windows_of(config, s.layers, 1, [](int64_t layer) { return (layer + 1) % 6 != 0; }))
    out.slides.push_back(window > 0);
  for (const bool sliding : {true, false}) out.kinds[sliding ? 1 : 0] = kind_of(config, s, out.slides, sliding);
  const int64_t shared = config.whole_or("num_kv_shared_layers", 0);
  SWAGE_CHECK(shared >= 0 && shared < s.layers, CorruptData, "config.json: num_kv_shared_layers ", shared, " of ",
              s.layers, " layers");
  out.shares_from = s.layers - shared;
  out.per_layer = config.whole_or("hidden_size_per_layer_input", 0);
  SWAGE_CHECK(out.per_layer >= 0 && out.per_layer * s.layers <= kLargestSize, CorruptData,
              "config.json: hidden_size_per_layer_input ", out.per_layer, " is too large or below zero");
  out.wide_mlp = config.flag_or("use_double_wide_mlp", false);
  out.mixes = config.flag_or("enable_moe_block", false);
  return out;
}

Value add_attention(BlockBuilder& b, Value x, const Gemma4& g, int64_t layer) {
  const Sizes& s = g.sizes;
  const Kind& kind = g.kind(layer);
  const std::string at = "self_attn.";
  const auto norm = [&](Value value, const char* name, bool weight = true) {
    NormSpec spec = rms_norm(at + name, kind.head_size, s.epsilon);
    spec.weight = weight;
    return b.norm(value, spec);
  };
  Value query = b.linear(x, Role::Query, at + "q_proj", s.heads * kind.head_size), key = -1, value = -1;
  if (layer < g.shares_from) {
    key = b.linear(x, Role::Key, at + "k_proj", kind.keys());
    value = kind.keys_are_values ? key : b.linear(x, Role::Value, at + "v_proj", kind.keys());
    value = norm(value, "v_norm", false);
    key = b.rope(norm(key, "k_norm"), kind.kv_heads, kind.table);
  } else {
    key = b.slice(kStream, kind.shared_at, kind.keys());
    value = b.slice(kStream, kind.shared_at + kind.keys(), kind.keys());
  }
  query = b.rope(norm(query, "q_norm"), s.heads, kind.table);
  if (g.stores(layer)) {
    b.write(key, kind.shared_at);
    b.write(value, kind.shared_at + kind.keys());
  }
  AttentionNode form{};
  form.heads = s.heads;
  form.kv_heads = kind.kv_heads;
  form.head_size = form.value_size = kind.head_size;
  form.window = kind.window;
  return b.linear(b.attention(query, key, value, "self_attn", form), Role::Output, at + "o_proj", s.hidden);
}

// What the mixture makes of the stream: its router has a norm of its own.
Value add_mixture(BlockBuilder& b, Value stream, const ConfigFields& config, const Sizes& s,
                  const checkpoint::WeightSource& weights) {
  const int64_t experts = config.size("num_experts", kMostExperts);
  SWAGE_CHECK(s.layers * experts <= kMostModules, CorruptData, "config.json: num_hidden_layers ", s.layers,
              " times num_experts ", experts, " is too large");
  NormSpec scaled = rms_norm("router.scale", s.hidden, s.epsilon);
  scaled.bare = true;
  ExpertsNode form{};
  form.router_in = b.scale(b.norm(stream, scaled), 1 / std::sqrt(static_cast<double>(s.hidden)));
  form.router = {"router.proj", Role::Router, experts};
  form.top_k = config.size("top_k_experts", experts);
  form.weight_scale = "router.per_expert_scale";
  form.gating.activation = s.activation;
  const Value x = b.norm(stream, rms_norm("pre_feedforward_layernorm_2", s.hidden, s.epsilon));
  return b.experts(x, std::move(form), config.size("moe_intermediate_size"),
                   expert_names(b, weights, "experts.", kMlpNames, "experts"));
}

BlockProgram describe_block(const ConfigFields& config, const Gemma4& g, int64_t width, int64_t layer,
                            const checkpoint::WeightSource& weights) {
  const Sizes& s = g.sizes;
  BlockBuilder b(cat("model.layers.", layer, "."), width);
  const auto stream = [&] { return b.slice(kStream, 0, s.hidden); };
  const auto norm = [&](Value x, const char* name) { return b.norm(x, rms_norm(name, s.hidden, s.epsilon)); };
  b.add(norm(add_attention(b, norm(stream(), "input_layernorm"), g, layer), "post_attention_layernorm"));
  const bool wide = g.wide_mlp && layer >= g.shares_from;
  const Value inside = stream();
  const Value gate_up = norm(inside, "pre_feedforward_layernorm");
  const int64_t inner = wide ? 2 * s.inner : s.inner;
  const Value gate = b.linear(gate_up, Role::Gate, "mlp.gate_proj", inner),
              up = b.linear(gate_up, Role::Up, "mlp.up_proj", inner);
  Value mlp = b.linear(b.gate(gate, up, s.activation), Role::Down, "mlp.down_proj", s.hidden);
  if (g.mixes) {
    const Value mixed = add_mixture(b, inside, config, s, weights);
    mlp = b.sum({norm(mlp, "post_feedforward_layernorm_1"), norm(mixed, "post_feedforward_layernorm_2")});
  }
  b.add(norm(mlp, "post_feedforward_layernorm"));
  if (g.per_layer > 0) {
    const Value own = b.slice(kStream, s.hidden + layer * g.per_layer, g.per_layer);
    const Value narrow = b.linear(stream(), Role::Gate, "per_layer_input_gate", g.per_layer);
    const Value back = b.linear(b.gate(narrow, own, s.activation), Role::Down, "per_layer_projection", s.hidden);
    b.add(norm(back, "post_per_layer_input_norm"));
  }
  b.write(b.multiply(stream(), "layer_scalar"), 0);
  return b.finish();
}

}  // namespace

ModelProgram describe_gemma4_text(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  Gemma4 g = gemma4_sizes(config);
  const Sizes& s = g.sizes;
  ModelProgram model =
      model_around(config, s.hidden, "model.embed_tokens", rms_norm("model.norm", s.hidden, s.epsilon), true);
  model.embedding_scale = std::sqrt(static_cast<double>(s.hidden));
  model.logit_softcap = config.positive_or("final_logit_softcapping", 0);
  const Json* both = config.find("rope_parameters");
  for (const bool sliding : {true, false}) {
    Json one = config.json();
    const Json* fields =
        both == nullptr || !both->is_object() ? nullptr : both->find(sliding ? "sliding_attention" : "full_attention");
    one.set("rope_parameters", fields == nullptr ? Json() : *fields);
    const Kind& kind = g.kinds[sliding ? 1 : 0];
    model.ropes.push_back(rope_of(ConfigFields(one), kind.head_size, sliding ? 10000 : 1000000));
  }
  int64_t width = s.hidden + g.per_layer * s.layers;
  for (auto& [sliding, kind] : g.kinds) {
    if (g.shares_from == s.layers) break;
    kind.shared_at = width;
    width += 2 * kind.keys();
  }
  if (width > s.hidden) model.stream_width = width;
  if (g.per_layer > 0) model.prologue = with_second_embedding(config, s, g.per_layer, model).finish();
  for (int64_t layer = 0; layer < s.layers; ++layer)
    model.blocks.push_back(describe_block(config, g, width, layer, weights));
  return model;
}

}  // namespace swage::model
