// ModernBERT (Warner et al. 2024, arXiv:2412.13663): norms before, rotary embedding, windows on both sides in two of
// three layers, a gated MLP in one linear.
#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/encoders.h"

namespace swage::model {

using namespace graph;

namespace {

// Of layers with a window, then of those without.
std::vector<RopeSpec> ropes_of(const ConfigFields& config, int64_t head_size) {
  constexpr double kLocal = 10000, kGlobal = 160000;
  const std::vector<RopeSpec> named = ropes_by_layer_type(config, head_size, kLocal, kGlobal);
  if (!named.empty()) return named;
  return {rope_of(config, head_size, kLocal, {.theta_key = "local_rope_theta"}),
          rope_of(config, head_size, kGlobal, {.theta_key = "global_rope_theta"})};
}

BlockProgram describe_block(const ConfigFields& config, const Sizes& s, const std::string& prefix, bool first,
                            int64_t window) {
  const bool norm_bias = config.flag_or("norm_bias", false), biases = config.flag_or("attention_bias", false),
             mlp_biases = config.flag_or("mlp_bias", false);
  BlockBuilder b(prefix, s.hidden);
  const Value x = first ? kStream : b.norm(kStream, layer_norm("attn_norm", s.hidden, s.epsilon, norm_bias));
  AttentionTraits attention{.module = "attn",
                            .names = {"", "", "", "Wo"},
                            .input_biases = biases,
                            .output_bias = biases,
                            .rope = window > 0 ? 0 : 1,
                            .causal = false,
                            .window = window,
                            .fused = AttentionTraits::Fused::InTurn,
                            .fused_name = "Wqkv"};
  b.add(self_attention(b, x, s, attention));
  const Value y = b.norm(kStream, layer_norm("mlp_norm", s.hidden, s.epsilon, norm_bias));
  const std::vector<Value> parts =
      b.split(b.linear(y, Role::GateUp, "mlp.Wi", 2 * s.inner, mlp_biases), {s.inner, s.inner});
  b.add(b.linear(b.gate(parts[0], parts[1], s.activation), Role::Down, "mlp.Wo", s.hidden, mlp_biases));
  return b.finish();
}

}  // namespace

ModelProgram describe_modernbert(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  Sizes s = sizes_of(config, {.epsilon = "norm_eps", .kv_heads = "num_attention_heads", .default_epsilon = 1e-5});
  s.activation = config.activation("hidden_activation", "gelu");
  const EncoderNames names = encoder_names(config, weights, "model.", "embeddings.tok_embeddings", "embeddings.norm");
  const bool norm_bias = config.flag_or("norm_bias", false);
  ModelProgram model = model_around(config, s.hidden, names.prefix + "embeddings.tok_embeddings",
                                    layer_norm(names.prefix + "final_norm", s.hidden, s.epsilon, norm_bias), false);
  model.predicts = Predicts::Nothing;
  model.tied_embeddings = false;
  model.head = {};
  model.embedding_norm = layer_norm(names.prefix + "embeddings.norm", s.hidden, s.epsilon, norm_bias);
  model.ropes = ropes_of(config, s.head_size);
  const int64_t window = config.size_or("local_attention", 128) / 2 + 1,
                every = config.size_or("global_attn_every_n_layers", 3, kMostLayers);
  const std::vector<int64_t> windows =
      windows_of(config, s.layers, window, [&](int64_t layer) { return layer % every != 0; });
  for (int64_t layer = 0; layer < s.layers; ++layer)
    model.blocks.push_back(
        describe_block(config, s, cat(names.prefix, "layers.", layer, "."), layer == 0, windows[size_t(layer)]));
  if (has_head(config, weights, names, "head.dense", "ForMaskedLM"))
    add_masked_head(model, config,
                    {"head.dense", "head.norm", "decoder", config.flag_or("decoder_bias", true) ? "decoder.bias" : "",
                     config.flag_or("classifier_bias", false)},
                    config.activation("classifier_activation", "gelu"), layer_norm("", s.hidden, s.epsilon, norm_bias));
  keep_task_heads(model, weights, names);
  return model;
}

}  // namespace swage::model
