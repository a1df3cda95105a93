// DeepSeek-V2 and V3 (arXiv:2405.04434, 2412.19437), GLM 4.7 Flash and MiniCPM3: latent attention, and but for the last
// a mixture with shared experts.
#include <algorithm>
#include <cmath>

#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/latent_attention.h"
#include "swage/model/arch/llama_like.h"
#include "swage/model/arch/shared_experts.h"

namespace swage::model {

using namespace graph;

namespace {

// Drafting layers: a block, two norms before and one after it, a projection of twice the width, an embedding and a head
// each.
int64_t drafting_parameters(const ConfigFields& config, const BlockProgram& block, int64_t hidden) {
  const int64_t layers = config.whole_or("num_nextn_predict_layers", 0);
  SWAGE_CHECK(layers >= 0 && layers <= 64, CorruptData,
              "config.json: num_nextn_predict_layers must be from 0 to 64, not ", layers);
  ModelProgram one;
  one.blocks = {block};
  return layers * (shape_of(one).blocks[0].parameters() + 3 * hidden + 2 * hidden * hidden +
                   2 * config.size("vocab_size") * hidden);
}

ModelProgram describe(const ConfigFields& config, const checkpoint::WeightSource& weights, LatentSizes d,
                      const SharedExperts& mixture, const RopeSpec& rope) {
  const int64_t layers = config.size("num_hidden_layers", kMostLayers), inner = config.size("intermediate_size"),
                step = config.size_or("moe_layer_freq", 1);
  ModelProgram model =
      model_around(config, d.hidden, "model.embed_tokens", rms_norm("model.norm", d.hidden, d.epsilon), false);
  model.ropes = {rope};
  d.scale *= scale_of_yarn(config, rope);
  const auto block_of = [&](int64_t layer, bool experts) {
    BlockBuilder b(cat("model.layers.", layer, "."), d.hidden);
    b.add(latent_attention(b, b.norm(kStream, rms_norm("input_layernorm", d.hidden, d.epsilon)), d));
    const Value y = b.norm(kStream, rms_norm("post_attention_layernorm", d.hidden, d.epsilon));
    b.add(experts ? add_experts(b, y, mixture, weights) : gated_mlp(b, y, "mlp.", inner, mixture.activation));
    return b.finish();
  };
  for (int64_t layer = 0; layer < layers; ++layer)
    model.blocks.push_back(block_of(layer, layer >= mixture.dense && layer % step == 0));
  model.side_parameters = drafting_parameters(config, block_of(layers, true), d.hidden);
  return model;
}

}  // namespace

ModelProgram describe_deepseek_v2(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const LatentSizes d = latent_sizes(config);
  SharedExperts mixture = shared_experts(config, RouterKind::Softmax);
  mixture.rules.renormalise = false;
  if (config.text_or("topk_method", "greedy") == "greedy") mixture.rules.groups = mixture.rules.top_groups = 1;
  return describe(config, weights, d, mixture, rope_of(config, d.rope, 10000, {.interleaved = true}));
}

ModelProgram describe_deepseek_v3(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const LatentSizes d = latent_sizes(config);
  return describe(config, weights, d, shared_experts(config, RouterKind::Sigmoid),
                  rope_of(config, d.rope, 10000, {.interleaved = config.flag_or("rope_interleave", true)}));
}

// Sparse attention by an index, whose rotary embedding is in halves.
ModelProgram describe_deepseek_v32(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  LatentSizes d = latent_sizes(config);
  read_index(config, d);
  d.index_table = 1;
  RopeSpec rope = rope_of(config, d.rope, 10000, {.interleaved = config.flag_or("rope_interleave", true)});
  ModelProgram model = describe(config, weights, d, shared_experts(config, RouterKind::Sigmoid), rope);
  rope.interleaved = false;
  model.ropes.push_back(rope);
  return model;
}

// GLM 5: the same in pairs.
ModelProgram describe_glm_moe_dsa(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  LatentSizes d = latent_sizes(config);
  read_index(config, d);
  const int64_t layers = config.size("num_hidden_layers", kMostLayers);
  for (const std::string& type : config.texts("indexer_types", layers))
    SWAGE_CHECK(type == "full", Unsupported, "config.json: indexer_types \"", type,
                "\" is not supported, only full: layers that take over the choice of an earlier one");
  SharedExperts mixture = shared_experts(config, RouterKind::Sigmoid);
  const std::vector<std::string> kinds = config.texts("mlp_layer_types", layers);
  if (!kinds.empty()) mixture.dense = std::find(kinds.begin(), kinds.end(), "sparse") - kinds.begin();
  return describe(config, weights, d, mixture,
                  rope_of(config, d.rope, 1000000, {.interleaved = config.flag_or("rope_interleave", true)}));
}

// Which layers have a mixture is a list.
ModelProgram describe_glm4_moe_lite(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const LatentSizes d = latent_sizes(config);
  SharedExperts mixture = shared_experts(config, RouterKind::Sigmoid);
  const std::vector<std::string> kinds = config.texts("mlp_layer_types", config.size("num_hidden_layers", kMostLayers));
  mixture.dense = kinds.empty() ? 1 : std::find(kinds.begin(), kinds.end(), "sparse") - kinds.begin();
  SWAGE_CHECK(std::find(kinds.begin() + (kinds.empty() ? 0 : mixture.dense), kinds.end(), "dense") == kinds.end(),
              Unsupported, "config.json: mlp_layer_types with a dense layer behind a sparse one is not supported");
  return describe(config, weights, d, mixture,
                  rope_of(config, d.rope, 1000000, {.interleaved = config.flag_or("rope_interleave", true)}));
}

// Queries grow with their position; softmax scores, groups as good as their two best experts.
ModelProgram describe_mistral4(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  LatentSizes d = latent_sizes(config);
  d.query_growth = query_growth_of(config);
  SharedExperts mixture = shared_experts(config, RouterKind::Softmax);
  mixture.rules.renormalise = config.flag_or("norm_topk_prob", true);
  mixture.rules.best_of_group = std::min<int64_t>(2, mixture.rules.router.rows / mixture.rules.groups);
  Json whole = config.json();  // its share of a head is said of qk_head_dim, which is not what turns
  whole.set("partial_rotary_factor", Json());
  if (const Json* scaling = rope_fields(config)) {
    Json fields = *scaling;
    fields.set("partial_rotary_factor", Json());
    whole.set("rope_parameters", fields);
  }
  return describe(
      config, weights, d, mixture,
      rope_of(ConfigFields(whole), d.rope, 10000, {.interleaved = config.flag_or("rope_interleave", true)}));
}

// No mixture; embedding, branches and logits are scaled.
ModelProgram describe_minicpm3(const ConfigFields& config, const checkpoint::WeightSource&) {
  LatentSizes d = latent_sizes(config);
  const int64_t layers = config.size("num_hidden_layers", kMostLayers), inner = config.size("intermediate_size");
  const Activation activation = config.activation("hidden_act", "silu");
  const double branch = config.positive_or("scale_depth", 1) / std::sqrt(static_cast<double>(layers));
  ModelProgram model =
      model_around(config, d.hidden, "model.embed_tokens", rms_norm("model.norm", d.hidden, d.epsilon), true);
  model.embedding_scale = config.positive_or("scale_emb", 1);
  model.logit_scale =
      config.positive_or("dim_model_base", static_cast<double>(d.hidden)) / static_cast<double>(d.hidden);
  model.ropes = {rope_of(config, d.rope, 10000)};
  d.scale *= scale_of_yarn(config, model.ropes[0]);
  for (int64_t layer = 0; layer < layers; ++layer) {
    BlockBuilder b(cat("model.layers.", layer, "."), d.hidden);
    b.add(b.scale(latent_attention(b, b.norm(kStream, rms_norm("input_layernorm", d.hidden, d.epsilon)), d), branch));
    b.add(b.scale(gated_mlp(b, b.norm(kStream, rms_norm("post_attention_layernorm", d.hidden, d.epsilon)), "mlp.",
                            inner, activation),
                  branch));
    model.blocks.push_back(b.finish());
  }
  return model;
}

}  // namespace swage::model
