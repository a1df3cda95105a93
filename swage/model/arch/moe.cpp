// Mixtral and Qwen3-MoE: the Llama family with a mixture of experts for MLP. Experts lie in the checkpoint one by one, or
// all in two 3-D tensors; either way they are linears of their own here.
#include <set>

#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/llama_like.h"

namespace swage::model {
namespace {

struct MoeSizes {
  int64_t hidden, inner, experts, top_k;
  Activation activation;
  bool renormalise;
};

MoeSizes moe_sizes(const ConfigFields& config, const char* inner_key, bool renormalise) {
  MoeSizes sizes{};
  sizes.hidden = config.size("hidden_size");
  sizes.inner = config.size(inner_key);
  const char* key = config.json().find("num_experts") ? "num_experts" : "num_local_experts";
  sizes.experts = config.size(key, kMostExperts);
  sizes.top_k = config.size_or("num_experts_per_tok", 2, kMostExperts);
  SWAGE_CHECK(sizes.top_k <= sizes.experts, CorruptData, "config.json: num_experts_per_tok ", sizes.top_k, " is more than ", key, " ", sizes.experts);
  const int64_t layers = config.size("num_hidden_layers", kMostLayers);
  SWAGE_CHECK(layers * sizes.experts <= kMostModules, CorruptData, "config.json: num_hidden_layers ", layers, " times ", key, " ", sizes.experts,
              " is too large");
  sizes.activation = config.activation("hidden_act", "silu");
  sizes.renormalise = renormalise;
  return sizes;
}

// `router` is its module path, `experts` the prefix before an expert's number, `fused` that of 3-D tensors.
MoeDescription describe_moe(const MoeSizes& sizes, const std::string& router, const std::string& experts, const char* const names[3],
                            const std::string& fused, const checkpoint::WeightSource& weights) {
  MoeDescription moe;
  moe.router = {router, sizes.experts, sizes.hidden};
  moe.top_k = sizes.top_k;
  moe.renormalise = sizes.renormalise;
  if (!weights.shape(fused + ".gate_up_proj").empty()) moe.fused = fused;
  for (int64_t e = 0; e < sizes.experts; ++e) {
    moe.experts.push_back(gated_mlp(cat(experts, e, "."), sizes.hidden, sizes.inner, sizes.activation, false, names));
  }
  return moe;
}

std::set<int64_t> layer_set(const ConfigFields& config, const char* key) {
  std::set<int64_t> layers;
  const Json* list = config.json().find(key);
  if (!list || list->is_null()) return layers;
  SWAGE_CHECK(list->is_array(), CorruptData, "config.json: ", key, " must be a list of layers");
  for (const Json& item : list->as_array()) {
    SWAGE_CHECK(item.is_int(), CorruptData, "config.json: ", key, " holds ", item.dump(), ", not a layer's number");
    layers.insert(item.as_int());
  }
  return layers;
}

}  // namespace

ModelDescription describe_mixtral(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  static constexpr const char* kNames[3] = {"w1", "w3", "w2"};
  const MoeSizes sizes = moe_sizes(config, "intermediate_size", true);
  const int64_t window = config.size_or("sliding_window", 0, int64_t{1} << 40);
  LlamaTraits traits;
  traits.default_theta = 1000000;
  traits.window = [window](int64_t) { return window; };
  traits.mlp = [&](int64_t, const std::string& prefix) -> std::variant<MlpDescription, MoeDescription> {
    const std::string moe = prefix + "block_sparse_moe.", other = prefix + "mlp.";
    const bool renamed = weights.shape(moe + "gate.weight").empty() && !weights.shape(other + "gate.weight").empty();
    return describe_moe(sizes, (renamed ? other : moe) + "gate", moe + "experts.", kNames, other + "experts", weights);
  };
  return describe_llama_like(config, traits);
}

ModelDescription describe_qwen3_moe(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const MoeSizes sizes = moe_sizes(config, "moe_intermediate_size", config.flag_or("norm_topk_prob", false));
  const int64_t dense_inner = config.size("intermediate_size"), step = config.size_or("decoder_sparse_step", 1);
  const std::set<int64_t> dense = layer_set(config, "mlp_only_layers");
  LlamaTraits traits;
  traits.input_biases = traits.output_bias = config.flag_or("attention_bias", false);
  traits.head_norms = true;
  const bool slides = config.flag_or("use_sliding_window", false);
  const int64_t window = slides ? config.size_or("sliding_window", 4096, int64_t{1} << 40) : 0;
  traits.window = [window](int64_t) { return window; };
  traits.mlp = [&](int64_t layer, const std::string& prefix) -> std::variant<MlpDescription, MoeDescription> {
    const std::string mlp = prefix + "mlp.";
    if (dense.count(layer) || (layer + 1) % step != 0) {
      return gated_mlp(mlp, sizes.hidden, dense_inner, sizes.activation, false, kLlamaMlpNames);
    }
    return describe_moe(sizes, mlp + "gate", mlp + "experts.", kLlamaMlpNames, mlp + "experts", weights);
  };
  return describe_llama_like(config, traits);
}

}  // namespace swage::model
