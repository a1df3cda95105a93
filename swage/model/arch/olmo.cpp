// OLMo (arXiv:2402.00838): LayerNorm without weights. OLMo 2 (arXiv:2501.00656) and 3: RMSNorm behind attention and MLP
// alone, and on all queries and keys. EXAONE 4 (arXiv:2507.11407): the same with norms of each head.
#include <algorithm>
#include <functional>

#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/parts.h"

namespace swage::model {

using namespace graph;

ModelProgram describe_olmo(const ConfigFields& config, const checkpoint::WeightSource&) {
  const Sizes s = sizes_of(config, {});
  NormSpec norm = layer_norm("norm", s.hidden, 1e-5, false);
  norm.weight = false;
  ModelProgram model = model_around(config, s.hidden, "model.embed_tokens", norm, false);
  model.ropes = {rope_of(config, s.head_size, 10000)};
  AttentionTraits attention;
  attention.input_biases = attention.output_bias = config.flag_or("attention_bias", false);
  attention.clip = config.positive_or("clip_qkv", 0);
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    BlockBuilder b(cat("model.layers.", layer, "."), s.hidden);
    b.add(self_attention(b, b.norm(kStream, norm), s, attention));
    b.add(gated_mlp(b, b.norm(kStream, norm), "mlp.", s.inner, s.activation));
    model.blocks.push_back(b.finish());
  }
  return model;
}

namespace {

struct NormsBehind {
  std::vector<int64_t> windows = {};                    // of each layer; empty: none
  std::vector<RopeSpec> ropes;                          // table 0 is for layers with a window if there are two
  bool head_norms = false;                              // each head of queries and keys, not all of them together
  std::function<Value(BlockBuilder&, Value)> mlp = {};  // in place of the gated one
  bool full_without_rope = false;                       // layers without window do without rotary embedding
};

ModelProgram describe_with_norms_behind(const ConfigFields& config, const NormsBehind& traits) {
  const Sizes s = sizes_of(config, {.default_epsilon = 1e-5});
  const auto norm = [&](const char* name, int64_t size) { return rms_norm(name, size, s.epsilon); };
  ModelProgram model = model_around(config, s.hidden, "model.embed_tokens", norm("model.norm", s.hidden), false);
  model.ropes = traits.ropes;
  AttentionTraits attention;
  attention.input_biases = attention.output_bias = config.flag_or("attention_bias", false);
  attention.query_norm = norm("q_norm", traits.head_norms ? s.head_size : s.heads * s.head_size);
  attention.key_norm = norm("k_norm", traits.head_norms ? s.head_size : s.kv_heads * s.head_size);
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    BlockBuilder b(cat("model.layers.", layer, "."), s.hidden);
    attention.window = traits.windows.empty() ? 0 : traits.windows[static_cast<size_t>(layer)];
    attention.rope = model.ropes.size() > 1 && attention.window == 0 ? 1 : 0;
    if (traits.full_without_rope && attention.window == 0) attention.rope.reset();
    b.add(b.norm(self_attention(b, kStream, s, attention), norm("post_attention_layernorm", s.hidden)));
    const Value mlp = traits.mlp ? traits.mlp(b, kStream) : gated_mlp(b, kStream, "mlp.", s.inner, s.activation);
    b.add(b.norm(mlp, norm("post_feedforward_layernorm", s.hidden)));
    model.blocks.push_back(b.finish());
  }
  return model;
}

}  // namespace

ModelProgram describe_olmo2(const ConfigFields& config, const checkpoint::WeightSource&) {
  const Sizes s = sizes_of(config, {.default_epsilon = 1e-5});
  return describe_with_norms_behind(config, {.ropes = {rope_of(config, s.head_size, 500000)}});
}

// Three layers with a window, then one without; the scaling of the rotary embedding is for those without alone.
ModelProgram describe_olmo3(const ConfigFields& config, const checkpoint::WeightSource&) {
  const Sizes s = sizes_of(config, {.default_epsilon = 1e-5});
  std::vector<RopeSpec> ropes = ropes_by_layer_type(config, s.head_size, 500000, 500000);
  if (ropes.empty()) {
    const RopeSpec full = rope_of(config, s.head_size, 500000);
    ropes = {{.size = full.size, .theta = full.theta}, full};
  }
  const int64_t window = config.size_or("sliding_window", 4096, int64_t{1} << 40);
  const auto slides = [](int64_t layer) { return (layer + 1) % 4 != 0; };
  return describe_with_norms_behind(config, {.windows = windows_of(config, s.layers, window, slides), .ropes = ropes});
}

// Small ones attend to everything; large ones have a window in three of four layers, and no rotary embedding in the
// fourth.
ModelProgram describe_exaone4(const ConfigFields& config, const checkpoint::WeightSource&) {
  const Sizes s = sizes_of(config, {.default_epsilon = 1e-5});
  const int64_t window = config.size_or("sliding_window", 0, int64_t{1} << 40),
                pattern = std::max<int64_t>(1, config.whole_or("sliding_window_pattern", 4));
  NormsBehind traits{
      .ropes = {rope_of(config, s.head_size, 1000000)}, .head_norms = true, .full_without_rope = window > 0};
  if (window > 0)
    traits.windows = windows_of(config, s.layers, window, [=](int64_t layer) { return (layer + 1) % pattern != 0; });
  return describe_with_norms_behind(config, traits);
}

// FlexOlmo (arXiv:2507.07024): OLMo 2 with a mixture.
ModelProgram describe_flex_olmo(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const Sizes s = sizes_of(config, {.default_epsilon = 1e-6});
  const int64_t experts = config.size("num_experts", kMostExperts),
                top_k = config.size_or("num_experts_per_tok", 5, experts);
  SWAGE_CHECK(s.layers * experts <= kMostModules, CorruptData, "config.json: num_hidden_layers ", s.layers,
              " times num_experts ", experts, " is too large");
  NormsBehind traits{.ropes = {rope_of(config, s.head_size, 500000)}};
  traits.mlp = [&](BlockBuilder& b, Value x) {
    ExpertsNode form{};
    form.router = {"mlp.gate", Role::Router, experts};
    form.top_k = top_k;
    form.renormalise = config.flag_or("norm_topk_prob", false);
    form.gating.activation = s.activation;
    return b.experts(x, std::move(form), s.inner, expert_names(b, weights, "mlp.experts.", kMlpNames, "mlp.experts"));
  };
  return describe_with_norms_behind(config, traits);
}

}  // namespace swage::model
