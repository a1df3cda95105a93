#include "swage/model/arch/parts.h"

#include <cmath>

#include "swage/base/error.h"

namespace swage::model {

using namespace graph;

Sizes sizes_of(const ConfigFields& config, const SizeKeys& keys) {
  Sizes sizes{};
  sizes.hidden = config.size("hidden_size");
  sizes.heads = config.size("num_attention_heads", 65536);
  sizes.kv_heads = config.size_or(keys.kv_heads, sizes.heads, 65536);
  SWAGE_CHECK(sizes.heads % sizes.kv_heads == 0, CorruptData, "config.json: num_attention_heads ", sizes.heads,
              " is not a multiple of ", keys.kv_heads, " ", sizes.kv_heads);
  sizes.head_size = config.size_or("head_dim", 0, 65536);
  if (sizes.head_size == 0) {
    SWAGE_CHECK(sizes.hidden % sizes.heads == 0, CorruptData, "config.json: hidden_size ", sizes.hidden,
                " is not a multiple of num_attention_heads ", sizes.heads);
    sizes.head_size = sizes.hidden / sizes.heads;
  }
  SWAGE_CHECK(sizes.heads * sizes.head_size <= kLargestSize, CorruptData, "config.json: num_attention_heads ",
              sizes.heads, " times head_dim ", sizes.head_size, " is too large");
  sizes.inner = config.size("intermediate_size");
  sizes.layers = config.size("num_hidden_layers", kMostLayers);
  sizes.epsilon = config.positive_or(keys.epsilon, keys.default_epsilon);
  sizes.activation = config.activation(keys.activation, "silu");
  return sizes;
}

namespace {

struct Heads {
  Value query, key, value, gate;  // gate -1: none with the queries
};

Heads fused_heads(BlockBuilder& b, Value x, const Sizes& s, const AttentionTraits& traits) {
  const int64_t wide = s.heads * s.head_size, narrow = s.kv_heads * s.head_size;
  const Value all =
      b.linear(x, Role::QueryKeyValue, traits.module + "." + traits.fused_name, wide + 2 * narrow, traits.input_biases);
  const bool by_head = traits.fused == AttentionTraits::Fused::ByHead;
  const int64_t groups = by_head ? s.kv_heads : 1;
  const std::vector<Value> parts = b.split(all, {wide / groups, narrow / groups, narrow / groups}, groups);
  return {parts[0], parts[1], parts[2], -1};
}

Heads separate_heads(BlockBuilder& b, Value x, const Sizes& s, const AttentionTraits& traits) {
  const auto project = [&](Role role, int which, int64_t heads, int64_t parts = 1) {
    return b.linear(x, role, traits.module + "." + traits.names[which], parts * heads * s.head_size,
                    traits.input_biases);
  };
  Heads out{project(Role::Query, 0, s.heads, traits.query_has_gate ? 2 : 1), -1, -1, -1};
  out.key = project(Role::Key, 1, s.kv_heads);
  out.value = project(Role::Value, 2, s.kv_heads);
  if (traits.query_has_gate) {
    const std::vector<Value> parts = b.split(out.query, {s.head_size, s.head_size}, s.heads);
    out.query = parts[0];
    out.gate = parts[1];
  }
  out.key = b.scale(out.key, traits.key_scale);
  return out;
}

}  // namespace

Value self_attention(BlockBuilder& b, Value input, const Sizes& s, const AttentionTraits& traits) {
  const Value x = b.scale(input, traits.input_scale);
  Heads heads =
      traits.fused == AttentionTraits::Fused::No ? separate_heads(b, x, s, traits) : fused_heads(b, x, s, traits);
  const int64_t wide = s.heads * s.head_size;
  const Value gate =
      traits.gate.empty() ? heads.gate : b.linear(x, Role::Other, traits.module + "." + traits.gate, wide);
  const auto clip = [&](Value value) { return traits.clip > 0 ? b.clamp(value, traits.clip) : value; };
  heads = {clip(heads.query), clip(heads.key), clip(heads.value), heads.gate};
  const auto norm = [&](Value value, const std::optional<NormSpec>& spec) {
    if (!spec) return value;
    NormSpec named = *spec;
    named.name = traits.module + "." + named.name;
    return b.norm(value, named);
  };
  if (!traits.norms_after_rope)
    heads = {norm(heads.query, traits.query_norm), norm(heads.key, traits.key_norm), heads.value, heads.gate};
  if (traits.rope)
    heads = {b.rope(heads.query, s.heads, *traits.rope), b.rope(heads.key, s.kv_heads, *traits.rope), heads.value,
             heads.gate};
  if (traits.norms_after_rope)
    heads = {norm(heads.query, traits.query_norm), norm(heads.key, traits.key_norm), heads.value, heads.gate};
  if (const auto& growth = traits.query_growth)
    heads.query = b.position_scale(heads.query, growth->scale, growth->offset, growth->period);
  AttentionNode form{};
  form.heads = s.heads;
  form.kv_heads = s.kv_heads;
  form.head_size = form.value_size = s.head_size;
  form.scale = traits.scale > 0 ? traits.scale : 1 / std::sqrt(static_cast<double>(s.head_size));
  form.causal = traits.causal;
  form.window = traits.window;
  form.chunk = traits.chunk;
  form.softcap = traits.softcap;
  form.alibi = traits.alibi;
  form.sinks = traits.sinks;
  Value mixed = norm(b.attention(heads.query, heads.key, heads.value, traits.module, form), traits.inner_norm);
  if (gate >= 0) mixed = b.gate(gate, mixed, Activation::Sigmoid);
  const Value out =
      b.linear(mixed, Role::Output, traits.module + "." + traits.names[3], b.width(kStream), traits.output_bias);
  return b.scale(out, traits.output_scale);
}

Value gated_mlp(BlockBuilder& b, Value x, const std::string& prefix, int64_t inner, Activation activation, bool biases,
                const char* const* names) {
  const Value gate = b.linear(x, Role::Gate, prefix + names[0], inner, biases),
              up = b.linear(x, Role::Up, prefix + names[1], inner, biases);
  return b.linear(b.gate(gate, up, activation), Role::Down, prefix + names[2], b.width(kStream), biases);
}

Value plain_mlp(BlockBuilder& b, Value x, const std::string& up, const std::string& down, int64_t inner,
                Activation activation, bool biases) {
  const Value inside = b.activate(b.linear(x, Role::Up, up, inner, biases), activation);
  return b.linear(inside, Role::Down, down, b.width(kStream), biases);
}

BlockBuilder::ExpertNames expert_names(const BlockBuilder& b, const checkpoint::WeightSource& weights,
                                       const std::string& experts, const char* const* names, const std::string& fused) {
  const std::string in = fused + ".gate_up_proj";
  const std::vector<int64_t> shape = weights.shape(b.prefix() + in);
  if (shape.empty()) return {experts, names};
  BlockBuilder::ExpertNames out{experts, names, in, fused + ".down_proj"};
  const int64_t hidden = b.width(kStream);
  out.transposed = shape.size() == 3 && shape[1] == hidden && shape[2] != hidden;
  return out;
}

NormSpec rms_norm(const std::string& name, int64_t size, double epsilon, double offset) {
  return {.name = name, .kind = NormKind::Rms, .size = size, .epsilon = epsilon, .offset = offset};
}

NormSpec layer_norm(const std::string& name, int64_t size, double epsilon, bool bias) {
  return {.name = name, .kind = NormKind::Layer, .size = size, .epsilon = epsilon, .bias = bias};
}

ModelProgram model_around(const ConfigFields& config, int64_t hidden, const std::string& embedding,
                          std::optional<NormSpec> final_norm, bool tied_by_default, const std::string& head) {
  const int64_t vocabulary = config.size("vocab_size");
  ModelProgram model;
  model.hidden_size = hidden;
  model.max_positions = config.size_or("max_position_embeddings", 0, int64_t{1} << 40);
  model.tied_embeddings = config.flag_or("tie_word_embeddings", tied_by_default);
  model.embedding = {embedding, vocabulary, hidden};
  model.final_norm = std::move(final_norm);
  model.head = {head, Role::Head, vocabulary, hidden};
  return model;
}

std::vector<int64_t> windows_of(const ConfigFields& config, int64_t layers, int64_t window,
                                const std::function<bool(int64_t layer)>& slides) {
  const std::vector<std::string> types = config.texts("layer_types", layers);
  std::vector<int64_t> out;
  for (int64_t layer = 0; layer < layers; ++layer) {
    if (!types.empty()) {
      const std::string& type = types[static_cast<size_t>(layer)];
      SWAGE_CHECK(type == "full_attention" || type == "sliding_attention", Unsupported, "config.json: layer_types \"",
                  type, "\" is not supported, only full_attention and sliding_attention");
      out.push_back(type == "sliding_attention" ? window : 0);
    } else {
      out.push_back(slides(layer) ? window : 0);
    }
  }
  return out;
}

std::vector<RopeSpec> ropes_by_layer_type(const ConfigFields& config, int64_t head_size, double local_theta,
                                          double global_theta) {
  const Json* both = config.json().find("rope_parameters");
  if (both == nullptr || !both->is_object() || both->find("full_attention") == nullptr) return {};
  std::vector<RopeSpec> out;
  for (const auto& [type, theta] :
       {std::pair("sliding_attention", local_theta), std::pair("full_attention", global_theta)}) {
    Json one = config.json();
    const Json* fields = both->find(type);
    one.set("rope_parameters", fields == nullptr ? Json() : *fields);
    out.push_back(rope_of(ConfigFields(one), head_size, theta));
  }
  return out;
}

}  // namespace swage::model
