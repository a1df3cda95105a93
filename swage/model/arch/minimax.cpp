// MiniMax-Text-01 (arXiv:2501.08313): lightning attention, a state that decays at a fixed rate in each head, and
// attention in turns; a mixture in each layer; each part adds to the norm that it reads.
#include <cmath>

#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/parts.h"

namespace swage::model {

using namespace graph;

namespace {

// Rates fall with the head, and from the first layer to the last.
std::vector<double> rates_of(int64_t heads, int64_t layer, int64_t layers) {
  const double of_layer = 1 - static_cast<double>(layer) / (static_cast<double>(layers - 1) + 1e-5) + 1e-5;
  std::vector<double> out;
  for (int64_t head = 1; head <= heads; ++head)
    out.push_back(std::pow(2, -8.0 * static_cast<double>(head) / static_cast<double>(heads)) * of_layer);
  return out;
}

Value lightning_attention(BlockBuilder& b, const Sizes& s, int64_t layer) {
  const std::string at = "self_attn.";
  const int64_t wide = s.heads * s.head_size;
  const Value gate = b.linear(kStream, Role::Recurrence, at + "output_gate", wide);
  const std::vector<Value> parts =
      b.split(b.activate(b.linear(kStream, Role::Recurrence, at + "qkv_proj", 3 * wide), s.activation),
              {s.head_size, s.head_size, s.head_size}, s.heads);
  RecurrenceNode form{};
  form.query = parts[0];
  form.key = parts[1];
  form.value = parts[2];
  form.heads = form.key_heads = s.heads;
  form.key_size = form.value_size = s.head_size;
  form.fixed_rates = rates_of(s.heads, layer, s.layers);
  const Value normed = b.norm(b.recurrence(std::move(form)), rms_norm(at + "norm", wide, 1e-6));
  return b.linear(b.gate(gate, normed, Activation::Sigmoid), Role::Output, at + "out_proj", s.hidden);
}

}  // namespace

ModelProgram describe_minimax(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  static constexpr const char* kNames[3] = {"w1", "w3", "w2"};
  const Sizes s = sizes_of(config, {.default_epsilon = 1e-5});
  const int64_t experts = config.size("num_local_experts", kMostExperts),
                top_k = config.size_or("num_experts_per_tok", 2, experts);
  SWAGE_CHECK(s.layers * experts <= kMostModules, CorruptData, "config.json: num_hidden_layers ", s.layers,
              " times num_local_experts ", experts, " is too large");
  ModelProgram model =
      model_around(config, s.hidden, "model.embed_tokens", rms_norm("model.norm", s.hidden, s.epsilon), false);
  model.ropes = {rope_of(config, s.head_size, 1000000)};
  const std::vector<std::string> types = config.texts("layer_types", s.layers);
  const auto factor = [&](const char* key) { return config.positive_or(key, 1); };
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    const bool attends = types.empty() ? layer % 2 == 0 : types[size_t(layer)] == "full_attention";
    BlockBuilder b(cat("model.layers.", layer, "."), s.hidden);
    b.norm_stream(rms_norm("input_layernorm", s.hidden, s.epsilon));
    const Value mixed = attends ? self_attention(b, kStream, s, {}) : lightning_attention(b, s, layer);
    b.scale_stream(factor(attends ? "full_attn_alpha_factor" : "linear_attn_alpha_factor"));
    b.add(b.scale(mixed, factor(attends ? "full_attn_beta_factor" : "linear_attn_beta_factor")));
    b.norm_stream(rms_norm("post_attention_layernorm", s.hidden, s.epsilon));
    ExpertsNode form{};
    form.router = {"block_sparse_moe.gate", Role::Router, experts};
    form.top_k = top_k;
    form.gating.activation = s.activation;
    const Value routed =
        b.experts(kStream, std::move(form), s.inner,
                  expert_names(b, weights, "block_sparse_moe.experts.", kNames, "block_sparse_moe.experts"));
    b.scale_stream(factor("mlp_alpha_factor"));
    b.add(b.scale(routed, factor("mlp_beta_factor")));
    model.blocks.push_back(b.finish());
    // Tables that transformers stores and that follow from the rates.
    for (const char* table : {"slope_rate", "query_decay", "key_decay", "diagonal_decay"})
      model.side_modules.push_back(cat("model.layers.", layer, ".self_attn.", table));
  }
  return model;
}

}  // namespace swage::model
