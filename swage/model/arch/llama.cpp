// Llama 2 and 3, Mistral, Qwen2, Qwen3, SmolLM (a llama), SmolLM3.
#include <algorithm>

#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/llama_like.h"

namespace swage::model {
namespace {

struct Sizes {
  int64_t hidden, heads, kv_heads, head_size, inner;
  double epsilon;
  Activation activation;
};

Sizes sizes_of(const ConfigFields& config) {
  Sizes sizes{};
  sizes.hidden = config.size("hidden_size");
  sizes.heads = config.size("num_attention_heads", 65536);
  sizes.kv_heads = config.size_or("num_key_value_heads", sizes.heads, 65536);
  SWAGE_CHECK(sizes.heads % sizes.kv_heads == 0, CorruptData, "config.json: num_attention_heads ", sizes.heads,
              " is not a multiple of num_key_value_heads ", sizes.kv_heads);
  sizes.head_size = config.size_or("head_dim", 0, 65536);
  if (sizes.head_size == 0) {
    SWAGE_CHECK(sizes.hidden % sizes.heads == 0, CorruptData, "config.json: hidden_size ", sizes.hidden, " is not a multiple of num_attention_heads ",
                sizes.heads);
    sizes.head_size = sizes.hidden / sizes.heads;
  }
  SWAGE_CHECK(sizes.heads * sizes.head_size <= kLargestSize, CorruptData, "config.json: num_attention_heads ", sizes.heads, " times head_dim ",
              sizes.head_size, " is too large");
  sizes.inner = config.size("intermediate_size");
  sizes.epsilon = config.positive_or("rms_norm_eps", 1e-6);
  sizes.activation = config.activation("hidden_act", "silu");
  return sizes;
}

AttentionDescription describe_attention(const Sizes& sizes, const LlamaTraits& traits, const std::string& prefix) {
  const int64_t wide = sizes.heads * sizes.head_size, narrow = sizes.kv_heads * sizes.head_size;
  AttentionDescription out;
  out.heads = sizes.heads;
  out.kv_heads = sizes.kv_heads;
  out.head_size = sizes.head_size;
  out.query = {prefix + "q_proj", wide, sizes.hidden, traits.input_biases};
  out.key = {prefix + "k_proj", narrow, sizes.hidden, traits.input_biases};
  out.value = {prefix + "v_proj", narrow, sizes.hidden, traits.input_biases};
  out.output = {prefix + "o_proj", sizes.hidden, wide, traits.output_bias};
  if (traits.head_norms) {
    out.query_norm = NormDescription{prefix + "q_norm", NormKind::Rms, sizes.head_size, sizes.epsilon};
    out.key_norm = NormDescription{prefix + "k_norm", NormKind::Rms, sizes.head_size, sizes.epsilon};
  }
  return out;
}

BlockDescription describe_block(const Sizes& sizes, const LlamaTraits& traits, int64_t layer) {
  const std::string prefix = cat("model.layers.", layer, ".");
  BlockDescription block;
  block.attention_norm = {prefix + "input_layernorm", NormKind::Rms, sizes.hidden, sizes.epsilon};
  block.mlp_norm = {prefix + "post_attention_layernorm", NormKind::Rms, sizes.hidden, sizes.epsilon};
  block.attention = describe_attention(sizes, traits, prefix + "self_attn.");
  block.attention.window = traits.window ? traits.window(layer) : 0;
  block.attention.rope = traits.rope ? traits.rope(layer) : true;
  if (traits.mlp) {
    block.mlp = traits.mlp(layer, prefix);
  } else {
    block.mlp = gated_mlp(prefix + "mlp.", sizes.hidden, sizes.inner, sizes.activation, traits.mlp_biases, kLlamaMlpNames);
  }
  return block;
}

LlamaTraits traits_from_biases(const ConfigFields& config) {
  LlamaTraits traits;
  traits.input_biases = traits.output_bias = config.flag_or("attention_bias", false);
  traits.mlp_biases = config.flag_or("mlp_bias", false);
  return traits;
}

// 1 on the layers that have rotary embedding; every no_rope_layer_interval-th has none where there is no list.
std::vector<bool> smollm3_rope_layers(const ConfigFields& config) {
  const int64_t layers = config.size("num_hidden_layers", kMostLayers);
  const int64_t interval = config.size_or("no_rope_layer_interval", 4);
  std::vector<bool> rope;
  const Json* list = config.json().find("no_rope_layers");
  if (!list || list->is_null()) {
    for (int64_t layer = 0; layer < layers; ++layer) rope.push_back((layer + 1) % interval != 0);
    return rope;
  }
  SWAGE_CHECK(list->is_array() && static_cast<int64_t>(list->as_array().size()) == layers, CorruptData,
              "config.json: no_rope_layers must be a list of ", layers, " numbers");
  for (const Json& item : list->as_array()) {
    SWAGE_CHECK(item.is_int(), CorruptData, "config.json: no_rope_layers holds ", item.dump(), ", not 0 or 1");
    rope.push_back(item.as_int() != 0);
  }
  return rope;
}

}  // namespace

MlpDescription gated_mlp(const std::string& prefix, int64_t hidden, int64_t inner, Activation activation, bool biases, const char* const names[3]) {
  MlpDescription mlp;
  mlp.activation = activation;
  mlp.gate = LinearDescription{prefix + names[0], inner, hidden, biases};
  mlp.up = {prefix + names[1], inner, hidden, biases};
  mlp.down = {prefix + names[2], hidden, inner, biases};
  return mlp;
}

std::function<int64_t(int64_t)> qwen_windows(const ConfigFields& config) {
  const int64_t layers = config.size("num_hidden_layers", kMostLayers);
  const std::vector<std::string> types = config.texts("layer_types", layers);
  for (const std::string& type : types) {
    SWAGE_CHECK(type == "full_attention" || type == "sliding_attention", Unsupported, "config.json: layer_types \"", type,
                "\" is not supported, only full_attention and sliding_attention");
  }
  if (!config.flag_or("use_sliding_window", false)) return {};
  const int64_t window = config.size_or("sliding_window", 0, int64_t{1} << 40);
  const int64_t first = config.json().get_int("max_window_layers", 28);
  return [=](int64_t layer) {
    const bool slides = types.empty() ? layer >= first : types[static_cast<size_t>(layer)] == "sliding_attention";
    return slides ? window : 0;
  };
}

ModelDescription describe_llama_like(const ConfigFields& config, const LlamaTraits& traits) {
  const Sizes sizes = sizes_of(config);
  const int64_t vocabulary = config.size("vocab_size");
  ModelDescription model;
  model.hidden_size = sizes.hidden;
  model.max_positions = config.size_or("max_position_embeddings", 0, int64_t{1} << 40);
  model.tied_embeddings = config.flag_or("tie_word_embeddings", traits.tied_by_default);
  model.embedding = {"model.embed_tokens", vocabulary, sizes.hidden};
  model.final_norm = NormDescription{"model.norm", NormKind::Rms, sizes.hidden, sizes.epsilon};
  model.head = {"lm_head", vocabulary, sizes.hidden};
  model.rope = rope_of(config, sizes.head_size, traits.default_theta);
  const int64_t layers = config.size("num_hidden_layers", kMostLayers);
  for (int64_t layer = 0; layer < layers; ++layer) model.blocks.push_back(describe_block(sizes, traits, layer));
  return model;
}

ModelDescription describe_llama(const ConfigFields& config, const checkpoint::WeightSource&) {
  return describe_llama_like(config, traits_from_biases(config));
}

ModelDescription describe_mistral(const ConfigFields& config, const checkpoint::WeightSource&) {
  LlamaTraits traits;
  // Absent is the 4096 of Mistral 7B v0.1; later ones say null.
  const bool absent = config.json().find("sliding_window") == nullptr;
  const int64_t window = absent ? 4096 : config.size_or("sliding_window", 0, int64_t{1} << 40);
  traits.window = [window](int64_t) { return window; };
  return describe_llama_like(config, traits);
}

ModelDescription describe_qwen2(const ConfigFields& config, const checkpoint::WeightSource&) {
  LlamaTraits traits;
  traits.input_biases = true;
  traits.window = qwen_windows(config);
  return describe_llama_like(config, traits);
}

ModelDescription describe_qwen3(const ConfigFields& config, const checkpoint::WeightSource&) {
  LlamaTraits traits = traits_from_biases(config);
  traits.mlp_biases = false;
  traits.head_norms = true;
  traits.window = qwen_windows(config);
  return describe_llama_like(config, traits);
}

ModelDescription describe_smollm3(const ConfigFields& config, const checkpoint::WeightSource&) {
  LlamaTraits traits = traits_from_biases(config);
  traits.tied_by_default = true;
  traits.default_theta = 2000000;
  const std::vector<bool> rope = smollm3_rope_layers(config);
  traits.rope = [rope](int64_t layer) { return rope[static_cast<size_t>(layer)]; };
  traits.window = qwen_windows(config);
  const Json* types = config.json().find("layer_types");
  if (traits.window && (!types || types->is_null())) {
    const int64_t window = config.size_or("sliding_window", 0, int64_t{1} << 40);
    traits.window = [rope, window](int64_t layer) { return rope[static_cast<size_t>(layer)] ? 0 : window; };
  }
  return describe_llama_like(config, traits);
}

}  // namespace swage::model
