// Llama 4 (Scout and Maverick): layers that see chunks alone and have a rotary embedding in pairs, and layers that see
// everything, have none, and whose queries grow with their position; mixtures that weigh what experts read, beside a
// shared expert.
#include <algorithm>

#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/llama_like.h"

namespace swage::model {

using namespace graph;

namespace {

// Which layers have a mixture: `moe_layers`, else every interleave_moe_layer_step-th.
std::vector<bool> mixtures_of(const ConfigFields& config, int64_t layers) {
  std::vector<bool> out(static_cast<size_t>(layers));
  const Json* list = config.json().find("moe_layers");
  const int64_t step = config.size_or("interleave_moe_layer_step", 1);
  for (int64_t layer = 0; layer < layers; ++layer) out[size_t(layer)] = (layer + 1) % step == 0;
  if (list == nullptr || list->is_null()) return out;
  SWAGE_CHECK(list->is_array(), CorruptData, "config.json: moe_layers must be a list of layers");
  std::fill(out.begin(), out.end(), false);
  for (const Json& item : list->as_array()) {
    SWAGE_CHECK(item.is_int() && item.as_int() >= 0 && item.as_int() < layers, CorruptData,
                "config.json: moe_layers holds ", item.dump(), ", not one of ", layers, " layers");
    out[size_t(item.as_int())] = true;
  }
  return out;
}

struct Llama4 {
  int64_t experts, top_k, inner, dense_inner;
  Activation activation;
};

Value add_mixture(BlockBuilder& b, Value x, const Llama4& s, const checkpoint::WeightSource& weights) {
  b.add(gated_mlp(b, x, "feed_forward.shared_expert.", s.inner, s.activation));
  ExpertsNode form{};
  form.router = {"feed_forward.router", Role::Router, s.experts};
  form.kind = RouterKind::Sigmoid;
  form.top_k = s.top_k;
  form.renormalise = false;
  form.weighs_input = true;
  form.gating.activation = s.activation;
  BlockBuilder::ExpertNames names =
      expert_names(b, weights, "feed_forward.experts.", kMlpNames, "feed_forward.experts");
  names.transposed = true;
  return b.experts(x, std::move(form), s.inner, names);
}

}  // namespace

ModelProgram describe_llama4_text(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const Sizes sizes = sizes_of(config, {.default_epsilon = 1e-5});
  const int64_t experts = config.size_or("num_local_experts", 16, kMostExperts);
  const Llama4 s{experts, config.size_or("num_experts_per_tok", 1, experts), sizes.inner,
                 config.size_or("intermediate_size_mlp", 16384), sizes.activation};
  SWAGE_CHECK(sizes.layers * experts <= kMostModules, CorruptData, "config.json: num_hidden_layers ", sizes.layers,
              " times num_local_experts ", experts, " is too large");
  const std::vector<bool> turns = rope_layers(config), mixtures = mixtures_of(config, sizes.layers);
  const int64_t chunk = config.size_or("attention_chunk_size", 8192, int64_t{1} << 40);
  LlamaTraits traits = traits_from_biases(config);
  traits.mlp_biases = false;
  traits.default_epsilon = 1e-5;
  traits.default_theta = 500000;
  traits.rope_form.interleaved = true;
  const bool norms = config.flag_or("use_qk_norm", true), grows = config.flag_or("attn_temperature_tuning", true);
  const PositionScale growth{config.positive_or("attn_scale", 0.1), 1, config.positive_or("floor_scale", 8192)};
  traits.of_layer = [=](AttentionTraits& attention, int64_t layer) {
    if (!turns[size_t(layer)]) {
      attention.rope.reset();
      if (grows) attention.query_growth = growth;
      return;
    }
    attention.chunk = chunk;
    attention.norms_after_rope = true;
    if (!norms) return;
    attention.query_norm = rms_norm("qk_norm", sizes.head_size, sizes.epsilon);
    attention.query_norm->weight = false;
    attention.key_norm = attention.query_norm;
  };
  traits.mlp = [&](BlockBuilder& b, Value x, int64_t layer) {
    return mixtures[size_t(layer)] ? add_mixture(b, x, s, weights)
                                   : gated_mlp(b, x, "feed_forward.", s.dense_inner, s.activation);
  };
  return describe_llama_like(config, traits);
}

}  // namespace swage::model
