// Command-R (Cohere) and Command-R7B (Cohere 2): attention and MLP side by side on one LayerNorm without bias; rotary
// embedding in pairs; scaled logits.
#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/parts.h"

namespace swage::model {

using namespace graph;

namespace {

// `windows` and `turns`: of each layer.
ModelProgram describe(const ConfigFields& config, const std::vector<int64_t>& windows, const std::vector<bool>& turns,
                      bool head_norms) {
  const Sizes s = sizes_of(config, {.epsilon = "layer_norm_eps", .default_epsilon = 1e-5});
  ModelProgram model =
      model_around(config, s.hidden, "model.embed_tokens", layer_norm("model.norm", s.hidden, s.epsilon, false), true);
  model.logit_scale = config.positive_or("logit_scale", 0.0625);
  model.ropes = {rope_of(config, s.head_size, 10000, {.interleaved = true})};
  AttentionTraits attention;
  attention.input_biases = attention.output_bias = config.flag_or("attention_bias", false);
  if (head_norms) {
    attention.query_norm = layer_norm("q_norm", s.head_size, s.epsilon, false);
    attention.key_norm = layer_norm("k_norm", s.head_size, s.epsilon, false);
    attention.query_norm->heads = s.heads;
    attention.key_norm->heads = s.kv_heads;
  }
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    BlockBuilder b(cat("model.layers.", layer, "."), s.hidden);
    attention.window = windows.empty() ? 0 : windows[static_cast<size_t>(layer)];
    attention.rope = turns.empty() || turns[static_cast<size_t>(layer)] ? std::optional<int>(0) : std::nullopt;
    const Value x = b.norm(kStream, layer_norm("input_layernorm", s.hidden, s.epsilon, false));
    b.add(self_attention(b, x, s, attention));
    b.add(gated_mlp(b, x, "mlp.", s.inner, s.activation));
    model.blocks.push_back(b.finish());
  }
  return model;
}

}  // namespace

ModelProgram describe_cohere(const ConfigFields& config, const checkpoint::WeightSource&) {
  return describe(config, {}, {}, config.flag_or("use_qk_norm", false));
}

// Three layers with a window and rotary embedding, then one without either.
ModelProgram describe_cohere2(const ConfigFields& config, const checkpoint::WeightSource&) {
  const int64_t layers = config.size("num_hidden_layers", kMostLayers),
                pattern = config.size_or("sliding_window_pattern", 4);
  const int64_t window = config.size_or("sliding_window", 4096, int64_t{1} << 40);
  const std::vector<int64_t> windows =
      windows_of(config, layers, window, [=](int64_t layer) { return (layer + 1) % pattern != 0; });
  std::vector<bool> turns;
  for (const int64_t one : windows) turns.push_back(one > 0);
  return describe(config, windows, turns, false);
}

}  // namespace swage::model
