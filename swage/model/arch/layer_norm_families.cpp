// Families of today's layout with LayerNorm: StableLM, StarCoder 2, Phi 1 and 2, Nemotron.
#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/parts.h"

namespace swage::model {

using namespace graph;

ModelProgram describe_stablelm(const ConfigFields& config, const checkpoint::WeightSource&) {
  const Sizes s = sizes_of(config, {.epsilon = "layer_norm_eps", .default_epsilon = 1e-5});
  const auto norm = [&](const char* name) { return layer_norm(name, s.hidden, s.epsilon); };
  ModelProgram model = model_around(config, s.hidden, "model.embed_tokens", norm("model.norm"), false);
  model.ropes = {rope_of(config, s.head_size, 10000, {.partial = 0.25})};
  AttentionTraits attention;
  attention.input_biases = config.flag_or("use_qkv_bias", false);
  if (config.flag_or("qk_layernorm", false)) {
    attention.query_norm = layer_norm("q_layernorm.norms", s.head_size, s.epsilon, false);
    attention.key_norm = layer_norm("k_layernorm.norms", s.head_size, s.epsilon, false);
    attention.query_norm->heads = s.heads;
    attention.key_norm->heads = s.kv_heads;
    attention.query_norm->apart = attention.key_norm->apart = true;
  }
  const bool parallel = config.flag_or("use_parallel_residual", false);
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    BlockBuilder b(cat("model.layers.", layer, "."), s.hidden);
    const Value x = b.norm(kStream, norm("input_layernorm"));
    b.add(self_attention(b, x, s, attention));
    b.add(
        gated_mlp(b, parallel ? x : b.norm(kStream, norm("post_attention_layernorm")), "mlp.", s.inner, s.activation));
    model.blocks.push_back(b.finish());
  }
  return model;
}

ModelProgram describe_starcoder2(const ConfigFields& config, const checkpoint::WeightSource&) {
  const Sizes s = sizes_of(config, {.epsilon = "norm_epsilon", .default_epsilon = 1e-5});
  const auto norm = [&](const char* name) { return layer_norm(name, s.hidden, s.epsilon); };
  ModelProgram model = model_around(config, s.hidden, "model.embed_tokens", norm("model.norm"), true);
  model.ropes = {rope_of(config, s.head_size, 10000)};
  AttentionTraits attention;
  const bool biases = attention.input_biases = attention.output_bias = config.flag_or("use_bias", true);
  attention.window = config.size_or("sliding_window", 0, int64_t{1} << 40);
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    BlockBuilder b(cat("model.layers.", layer, "."), s.hidden);
    b.add(self_attention(b, b.norm(kStream, norm("input_layernorm")), s, attention));
    b.add(plain_mlp(b, b.norm(kStream, norm("post_attention_layernorm")), "mlp.c_fc", "mlp.c_proj", s.inner,
                    s.activation, biases));
    model.blocks.push_back(b.finish());
  }
  return model;
}

// Attention and MLP side by side on one norm; the head has a bias.
ModelProgram describe_phi(const ConfigFields& config, const checkpoint::WeightSource&) {
  const Sizes s = sizes_of(config, {.epsilon = "layer_norm_eps", .default_epsilon = 1e-5});
  SWAGE_CHECK(!config.flag_or("qk_layernorm", false), Unsupported, "config.json: qk_layernorm true is not supported");
  ModelProgram model = model_around(config, s.hidden, "model.embed_tokens",
                                    layer_norm("model.final_layernorm", s.hidden, s.epsilon), false);
  model.head.bias = true;
  model.ropes = {rope_of(config, s.head_size, 10000, {.partial = 0.5})};
  AttentionTraits attention{
      .names = {"q_proj", "k_proj", "v_proj", "dense"}, .input_biases = true, .output_bias = true};
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    BlockBuilder b(cat("model.layers.", layer, "."), s.hidden);
    const Value x = b.norm(kStream, layer_norm("input_layernorm", s.hidden, s.epsilon));
    b.add(self_attention(b, x, s, attention));
    b.add(plain_mlp(b, x, "mlp.fc1", "mlp.fc2", s.inner, s.activation, true));
    model.blocks.push_back(b.finish());
  }
  return model;
}

// Norms are stored less one.
ModelProgram describe_nemotron(const ConfigFields& config, const checkpoint::WeightSource&) {
  const Sizes s = sizes_of(config, {.epsilon = "norm_eps", .default_epsilon = 1e-5});
  const auto norm = [&](const char* name) {
    NormSpec spec = layer_norm(name, s.hidden, s.epsilon);
    spec.offset = 1;
    return spec;
  };
  ModelProgram model = model_around(config, s.hidden, "model.embed_tokens", norm("model.norm"), false);
  model.ropes = {rope_of(config, s.head_size, 10000, {.partial = 0.5})};
  AttentionTraits attention;
  attention.input_biases = attention.output_bias = config.flag_or("attention_bias", false);
  const bool biases = config.flag_or("mlp_bias", false);
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    BlockBuilder b(cat("model.layers.", layer, "."), s.hidden);
    b.add(self_attention(b, b.norm(kStream, norm("input_layernorm")), s, attention));
    b.add(plain_mlp(b, b.norm(kStream, norm("post_attention_layernorm")), "mlp.up_proj", "mlp.down_proj", s.inner,
                    s.activation, biases));
    model.blocks.push_back(b.finish());
  }
  return model;
}

}  // namespace swage::model
