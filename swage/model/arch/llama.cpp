// Llama 2 and 3, Mistral, Ministral, Qwen2, Qwen3, SmolLM (a llama), SmolLM3, Granite, Arcee, Seed-OSS, ERNIE 4.5,
// Helium, Hunyuan.
#include <algorithm>
#include <cmath>

#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/llama_like.h"

namespace swage::model {

using namespace graph;

namespace {

BlockProgram describe_block(const Sizes& sizes, const LlamaTraits& traits, int64_t layer) {
  BlockBuilder b(cat("model.layers.", layer, "."), sizes.hidden);
  AttentionTraits attention = traits.attention;
  if (traits.head_norms) {
    attention.query_norm = rms_norm("q_norm", sizes.head_size, sizes.epsilon, traits.norm_offset);
    attention.key_norm = rms_norm("k_norm", sizes.head_size, sizes.epsilon, traits.norm_offset);
  }
  if (traits.window) attention.window = traits.window(layer);
  if (traits.rope && !traits.rope(layer)) attention.rope.reset();
  if (traits.of_layer) traits.of_layer(attention, layer);
  const auto norm = [&](const char* name) {
    return traits.layer_norms ? layer_norm(name, sizes.hidden, sizes.epsilon)
                              : rms_norm(name, sizes.hidden, sizes.epsilon, traits.norm_offset);
  };
  const auto add = [&](Value branch, const char* behind) {
    b.add(b.scale(behind != nullptr ? b.norm(branch, norm(behind)) : branch, traits.residual_scale));
  };
  const Value x = b.norm(kStream, norm(traits.norm_names[0]));
  const Value mixed = traits.mixer ? traits.mixer(b, x, layer) : -1;
  add(mixed >= 0 ? mixed : self_attention(b, x, sizes, attention), traits.norms_behind[0]);
  const Value y = b.norm(kStream, norm(traits.norm_names[1]));
  const Value mlp =
      traits.mlp ? traits.mlp(b, y, layer) : gated_mlp(b, y, "mlp.", sizes.inner, sizes.activation, traits.mlp_biases);
  add(mlp, traits.norms_behind[1]);
  return b.finish();
}

}  // namespace

// 1 on the layers that have rotary embedding; every no_rope_layer_interval-th has none where there is no list.
std::vector<bool> rope_layers(const ConfigFields& config) {
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

LlamaTraits traits_from_biases(const ConfigFields& config) {
  LlamaTraits traits;
  traits.attention.input_biases = traits.attention.output_bias = config.flag_or("attention_bias", false);
  traits.mlp_biases = config.flag_or("mlp_bias", false);
  return traits;
}

std::function<int64_t(int64_t)> qwen_windows(const ConfigFields& config) {
  const int64_t layers = config.size("num_hidden_layers", kMostLayers);
  const std::vector<std::string> types = config.texts("layer_types", layers);
  for (const std::string& type : types) {
    SWAGE_CHECK(type == "full_attention" || type == "sliding_attention", Unsupported, "config.json: layer_types \"",
                type, "\" is not supported, only full_attention and sliding_attention");
  }
  if (!config.flag_or("use_sliding_window", false)) return {};
  const int64_t window = config.size_or("sliding_window", 0, int64_t{1} << 40);
  const int64_t first = config.whole_or("max_window_layers", 28);
  return [=](int64_t layer) {
    const bool slides = types.empty() ? layer >= first : types[static_cast<size_t>(layer)] == "sliding_attention";
    return slides ? window : 0;
  };
}

ModelProgram describe_llama_like(const ConfigFields& config, const LlamaTraits& traits) {
  const Sizes sizes = sizes_of(config, {.epsilon = traits.epsilon_key, .default_epsilon = traits.default_epsilon});
  ModelProgram model =
      model_around(config, sizes.hidden, "model.embed_tokens",
                   traits.layer_norms ? layer_norm(traits.final_norm, sizes.hidden, sizes.epsilon)
                                      : rms_norm(traits.final_norm, sizes.hidden, sizes.epsilon, traits.norm_offset),
                   traits.tied_by_default);
  model.embedding_scale = traits.embedding_scale;
  model.logit_scale = traits.logit_scale;
  model.ropes = {rope_of(config, sizes.head_size, traits.default_theta, traits.rope_form)};
  for (int64_t layer = 0; layer < sizes.layers; ++layer) model.blocks.push_back(describe_block(sizes, traits, layer));
  return model;
}

ModelProgram describe_llama(const ConfigFields& config, const checkpoint::WeightSource&) {
  return describe_llama_like(config, traits_from_biases(config));
}

ModelProgram describe_mistral(const ConfigFields& config, const checkpoint::WeightSource&) {
  LlamaTraits traits;
  // Absent is the 4096 of Mistral 7B v0.1; later ones say null.
  const bool absent = config.json().find("sliding_window") == nullptr;
  const int64_t window = absent ? 4096 : config.size_or("sliding_window", 0, int64_t{1} << 40);
  traits.window = [window](int64_t) { return window; };
  return describe_llama_like(config, traits);
}

std::optional<PositionScale> query_growth_of(const ConfigFields& config) {
  const Json* scaling = rope_fields(config);
  if (scaling == nullptr) return {};
  const ConfigFields fields(*scaling);
  const double beta = fields.positive_or("llama_4_scaling_beta", 0);
  if (beta == 0) return {};
  return PositionScale{beta, 0, fields.positive_or("original_max_position_embeddings", 8192)};
}

// Queries grow with their position.
ModelProgram describe_ministral3(const ConfigFields& config, const checkpoint::WeightSource&) {
  LlamaTraits traits;
  traits.default_epsilon = 1e-5;
  traits.default_theta = 1000000;
  traits.attention.query_growth = query_growth_of(config);
  const int64_t window = config.size_or("sliding_window", 0, int64_t{1} << 40);
  traits.window = [window](int64_t) { return window; };
  return describe_llama_like(config, traits);
}

// Apertus: no gate, an activation with numbers of its own in each layer, norms of each head.
ModelProgram describe_apertus(const ConfigFields& config, const checkpoint::WeightSource&) {
  LlamaTraits traits = traits_from_biases(config);
  traits.default_epsilon = 1e-5;
  traits.default_theta = 12000000;
  traits.head_norms = true;
  traits.norm_names[0] = "attention_layernorm";
  traits.norm_names[1] = "feedforward_layernorm";
  const int64_t inner = config.size("intermediate_size");
  const Activation activation = config.activation("hidden_act", "xielu");
  traits.mlp = [=, biases = traits.mlp_biases](BlockBuilder& b, Value x, int64_t) {
    const Value up = b.linear(x, Role::Up, "mlp.up_proj", inner, biases);
    const Value inside =
        activation == Activation::Xielu ? b.activate(up, activation, "mlp.act_fn") : b.activate(up, activation);
    return b.linear(inside, Role::Down, "mlp.down_proj", b.width(kStream), biases);
  };
  return describe_llama_like(config, traits);
}

ModelProgram describe_qwen2(const ConfigFields& config, const checkpoint::WeightSource&) {
  LlamaTraits traits;
  traits.attention.input_biases = true;
  traits.window = qwen_windows(config);
  return describe_llama_like(config, traits);
}

ModelProgram describe_qwen3(const ConfigFields& config, const checkpoint::WeightSource&) {
  LlamaTraits traits = traits_from_biases(config);
  traits.mlp_biases = false;
  traits.head_norms = true;
  traits.window = qwen_windows(config);
  return describe_llama_like(config, traits);
}

ModelProgram describe_smollm3(const ConfigFields& config, const checkpoint::WeightSource&) {
  LlamaTraits traits = traits_from_biases(config);
  traits.tied_by_default = true;
  traits.default_theta = 2000000;
  const std::vector<bool> rope = rope_layers(config);
  traits.rope = [rope](int64_t layer) { return rope[static_cast<size_t>(layer)]; };
  traits.window = qwen_windows(config);
  const Json* types = config.json().find("layer_types");
  if (traits.window && (!types || types->is_null())) {
    const int64_t window = config.size_or("sliding_window", 0, int64_t{1} << 40);
    traits.window = [rope, window](int64_t layer) { return rope[static_cast<size_t>(layer)] ? 0 : window; };
  }
  return describe_llama_like(config, traits);
}

LlamaTraits granite_traits(const ConfigFields& config) {
  LlamaTraits traits = traits_from_biases(config);
  traits.tied_by_default = true;
  traits.attention.scale = config.positive_or("attention_multiplier", 1);
  traits.embedding_scale = config.positive_or("embedding_multiplier", 1);
  traits.residual_scale = config.positive_or("residual_multiplier", 1);
  traits.logit_scale = 1 / config.positive_or("logits_scaling", 1);
  return traits;
}

ModelProgram describe_granite(const ConfigFields& config, const checkpoint::WeightSource&) {
  return describe_llama_like(config, granite_traits(config));
}

// No gate.
ModelProgram describe_arcee(const ConfigFields& config, const checkpoint::WeightSource&) {
  LlamaTraits traits = traits_from_biases(config);
  traits.default_epsilon = 1e-5;
  const int64_t inner = config.size("intermediate_size");
  const Activation activation = config.activation("hidden_act", "relu2");
  traits.mlp = [=, biases = traits.mlp_biases](BlockBuilder& b, Value x, int64_t) {
    return plain_mlp(b, x, "mlp.up_proj", "mlp.down_proj", inner, activation, biases);
  };
  return describe_llama_like(config, traits);
}

ModelProgram describe_seed_oss(const ConfigFields& config, const checkpoint::WeightSource&) {
  LlamaTraits traits = traits_from_biases(config);
  traits.attention.input_biases = config.flag_or("attention_bias", true);
  traits.attention.output_bias = config.flag_or("attention_out_bias", false);
  return describe_llama_like(config, traits);
}

ModelProgram describe_ministral(const ConfigFields& config, const checkpoint::WeightSource&) {
  LlamaTraits traits;
  const int64_t layers = config.size("num_hidden_layers", kMostLayers),
                window = config.size_or("sliding_window", 4096, int64_t{1} << 40);
  const std::vector<int64_t> windows = windows_of(config, layers, window, [](int64_t) { return true; });
  traits.window = [windows](int64_t layer) { return windows[static_cast<size_t>(layer)]; };
  return describe_llama_like(config, traits);
}

LlamaTraits ernie_traits(const ConfigFields& config) {
  LlamaTraits traits;
  traits.attention.input_biases = traits.attention.output_bias = traits.mlp_biases = config.flag_or("use_bias", false);
  traits.rope_form.interleaved = true;
  traits.default_epsilon = 1e-5;
  traits.default_theta = 500000;
  traits.tied_by_default = true;
  return traits;
}

ModelProgram describe_ernie4_5(const ConfigFields& config, const checkpoint::WeightSource&) {
  return describe_llama_like(config, ernie_traits(config));
}

ModelProgram describe_helium(const ConfigFields& config, const checkpoint::WeightSource&) {
  LlamaTraits traits = traits_from_biases(config);
  traits.attention.output_bias = false;
  traits.rope_form.interleaved = true;
  traits.default_epsilon = 1e-8;
  traits.default_theta = 100000;
  return describe_llama_like(config, traits);
}

// Norms of queries and keys behind the rotary embedding, whose base is one for the longest sequence (alpha).
ModelProgram describe_hunyuan(const ConfigFields& config, LlamaTraits traits) {
  const Sizes sizes = sizes_of(config, {.default_epsilon = 1e-5});
  traits.default_epsilon = 1e-5;
  traits.attention.query_norm = rms_norm("query_layernorm", sizes.head_size, sizes.epsilon);
  traits.attention.key_norm = rms_norm("key_layernorm", sizes.head_size, sizes.epsilon);
  traits.attention.norms_after_rope = true;
  ModelProgram model = describe_llama_like(config, traits);
  const Json* scaling = rope_fields(config);
  RopeSpec& rope = model.ropes[0];
  const double alpha = scaling != nullptr ? ConfigFields(*scaling).positive_or("alpha", 0) : 0;
  if (rope.kind == RopeKind::Dynamic && alpha > 0) {
    const double size = static_cast<double>(rope.size);
    rope = {.size = rope.size, .theta = rope.theta * std::pow(alpha, size / (size - 2))};
  }
  return model;
}

ModelProgram describe_hunyuan_v1_dense(const ConfigFields& config, const checkpoint::WeightSource&) {
  return describe_hunyuan(config, traits_from_biases(config));
}

}  // namespace swage::model
