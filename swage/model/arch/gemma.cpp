// Gemma (arXiv:2403.08295), Gemma 2 (arXiv:2408.00118) and the text model of Gemma 3 (arXiv:2503.19786): norms stored
// less one, scaled embeddings; from 2 on norms behind attention and MLP too, layers with a window in between, and in 2
// soft caps; in 3 norms of queries and keys, and two rotary embeddings.
#include <cmath>

#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/gemma_parts.h"

namespace swage::model {

using namespace graph;

namespace {

struct GemmaTraits {
  bool norms_behind = false;
  std::vector<int64_t> windows = {};  // of each layer; empty: none
  AttentionTraits attention = {};     // of every layer but for windows and rope
  const char* activation = "hidden_activation";
};

Sizes gemma_sizes(const ConfigFields& config, const char* activation) {
  Sizes s = sizes_of(config, {.activation = activation});
  if (config.json().find(activation) == nullptr) s.activation = Activation::GeluTanh;
  s.head_size = config.size_or("head_dim", 256, 65536);
  return s;
}

// Table 0 of `ropes` is for layers with a window if there are two.
ModelProgram describe(const ConfigFields& config, const Sizes& s, const GemmaTraits& traits,
                      std::vector<RopeSpec> ropes) {
  const auto norm = [&](const char* name) { return rms_norm(name, s.hidden, s.epsilon, 1); };
  ModelProgram model = model_around(config, s.hidden, "model.embed_tokens", norm("model.norm"), true);
  model.embedding_scale = static_cast<float>(std::sqrt(static_cast<double>(s.hidden)));
  model.logit_softcap = config.positive_or("final_logit_softcapping", 0);
  model.ropes = std::move(ropes);
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    BlockBuilder b(cat("model.layers.", layer, "."), s.hidden);
    AttentionTraits attention = traits.attention;
    attention.window = traits.windows.empty() ? 0 : traits.windows[static_cast<size_t>(layer)];
    attention.rope = model.ropes.size() > 1 && attention.window == 0 ? 1 : 0;
    const Value x = b.norm(kStream, norm("input_layernorm")), mixed = self_attention(b, x, s, attention);
    b.add(traits.norms_behind ? b.norm(mixed, norm("post_attention_layernorm")) : mixed);
    const Value y =
        b.norm(kStream, norm(traits.norms_behind ? "pre_feedforward_layernorm" : "post_attention_layernorm"));
    const Value mlp = gated_mlp(b, y, "mlp.", s.inner, s.activation);
    b.add(traits.norms_behind ? b.norm(mlp, norm("post_feedforward_layernorm")) : mlp);
    model.blocks.push_back(b.finish());
  }
  return model;
}

AttentionTraits attention_of(const ConfigFields& config, const Sizes& s) {
  AttentionTraits attention;
  attention.input_biases = attention.output_bias = config.flag_or("attention_bias", false);
  attention.scale = 1 / std::sqrt(config.positive_or("query_pre_attn_scalar", static_cast<double>(s.head_size)));
  attention.softcap = config.positive_or("attn_logit_softcapping", 0);
  return attention;
}

}  // namespace

ModelProgram describe_gemma(const ConfigFields& config, const checkpoint::WeightSource&) {
  const Sizes s = gemma_sizes(config, "hidden_act");
  return describe(config, s, {.attention = attention_of(config, s)}, {rope_of(config, s.head_size, 10000)});
}

ModelProgram describe_gemma2(const ConfigFields& config, const checkpoint::WeightSource&) {
  const Sizes s = gemma_sizes(config, "hidden_activation");
  const int64_t window = config.size_or("sliding_window", 4096, int64_t{1} << 40);
  return describe(config, s,
                  {true, windows_of(config, s.layers, window, [](int64_t layer) { return layer % 2 == 0; }),
                   attention_of(config, s)},
                  {rope_of(config, s.head_size, 10000)});
}

// Five layers with a window and a rotary embedding of their own, then one without window.
ModelProgram describe_gemma3_text(const ConfigFields& config, const checkpoint::WeightSource&) {
  const Sizes s = gemma_sizes(config, "hidden_activation");
  const int64_t window = config.size_or("sliding_window", 4096, int64_t{1} << 40);
  const int64_t pattern = config.size_or("sliding_window_pattern", config.size_or("_sliding_window_pattern", 6));
  AttentionTraits attention = attention_of(config, s);
  attention.query_norm = rms_norm("q_norm", s.head_size, s.epsilon, 1);
  attention.key_norm = rms_norm("k_norm", s.head_size, s.epsilon, 1);
  std::vector<RopeSpec> ropes = gemma_ropes(config, s.head_size);
  return describe(
      config, s,
      {true, windows_of(config, s.layers, window, [=](int64_t layer) { return (layer + 1) % pattern != 0; }),
       attention},
      std::move(ropes));
}

}  // namespace swage::model
