// GPT-OSS (arXiv:2508.10925): biases everywhere, sinks in attention, a window in every other layer, experts whose gate
// and up are limited and stored in turns.
#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/llama_like.h"

namespace swage::model {

using namespace graph;

ModelProgram describe_gpt_oss(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const int64_t layers = config.size("num_hidden_layers", kMostLayers), inner = config.size("intermediate_size"),
                experts = config.size("num_local_experts", kMostExperts),
                top_k = config.size_or("num_experts_per_tok", 4, experts),
                window = config.size_or("sliding_window", 128, int64_t{1} << 40);
  SWAGE_CHECK(layers * experts <= kMostModules, CorruptData, "config.json: num_hidden_layers ", layers,
              " times num_local_experts ", experts, " is too large");
  LlamaTraits traits;
  traits.default_epsilon = 1e-5;
  traits.default_theta = 150000;
  traits.attention.input_biases = traits.attention.output_bias = config.flag_or("attention_bias", true);
  traits.attention.sinks = "self_attn.sinks";
  const std::vector<int64_t> windows = windows_of(config, layers, window, [](int64_t layer) { return layer % 2 == 0; });
  traits.window = [windows](int64_t layer) { return windows[size_t(layer)]; };
  traits.mlp = [&](BlockBuilder& b, Value x, int64_t) {
    ExpertsNode form{};
    form.router = {"mlp.router", Role::Router, experts, 0, true};
    form.top_k = top_k;
    form.gating = {Activation::QuickGelu, config.positive_or("swiglu_limit", 7), 1};
    BlockBuilder::ExpertNames names = expert_names(b, weights, "mlp.experts.", kMlpNames, "mlp.experts");
    names.transposed = names.interleaved = names.biases = true;
    return b.experts(x, std::move(form), inner, names);
  };
  return describe_llama_like(config, traits);
}

}  // namespace swage::model
