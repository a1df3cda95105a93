// OPT (Zhang et al. 2022, arXiv:2205.01068): learned positions from row 2 on, LayerNorm, biases, ReLU. Two layouts:
// norms before (most sizes), or norms after with projections around narrower embeddings and no final norm (350m).
#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/parts.h"

namespace swage::model {

using namespace graph;

namespace {

struct OptSizes {
  int64_t hidden, heads, inner;
  bool norm_before, biases;
  Activation activation;
};

OptSizes opt_sizes(const ConfigFields& config) {
  OptSizes sizes{};
  sizes.hidden = config.size("hidden_size");
  sizes.heads = config.size("num_attention_heads", 65536);
  SWAGE_CHECK(sizes.hidden % sizes.heads == 0, CorruptData, "config.json: hidden_size ", sizes.hidden,
              " is not a multiple of num_attention_heads ", sizes.heads);
  sizes.inner = config.size("ffn_dim");
  sizes.norm_before = config.flag_or("do_layer_norm_before", true);
  sizes.biases = config.flag_or("enable_bias", true);
  sizes.activation = config.activation("activation_function", "relu");
  SWAGE_CHECK(config.flag_or("layer_norm_elementwise_affine", true), Unsupported,
              "config.json: layer_norm_elementwise_affine false is not supported");
  return sizes;
}

BlockProgram describe_block(const OptSizes& sizes, const std::string& prefix) {
  constexpr double kEpsilon = 1e-5;  // PyTorch's default; OPT configs do not give one
  BlockBuilder b(prefix, sizes.hidden);
  const Sizes heads{
      .hidden = sizes.hidden, .heads = sizes.heads, .kv_heads = sizes.heads, .head_size = sizes.hidden / sizes.heads};
  AttentionTraits attention{
      .names = {"q_proj", "k_proj", "v_proj", "out_proj"}, .input_biases = sizes.biases, .output_bias = sizes.biases};
  attention.rope.reset();
  const NormSpec attention_norm = layer_norm("self_attn_layer_norm", sizes.hidden, kEpsilon),
                 mlp_norm = layer_norm("final_layer_norm", sizes.hidden, kEpsilon);
  const auto before = [&](const NormSpec& norm) { return sizes.norm_before ? b.norm(kStream, norm) : kStream; };
  b.add(self_attention(b, before(attention_norm), heads, attention));
  if (!sizes.norm_before) b.norm_stream(attention_norm);
  b.add(plain_mlp(b, before(mlp_norm), "fc1", "fc2", sizes.inner, sizes.activation, sizes.biases));
  if (!sizes.norm_before) b.norm_stream(mlp_norm);
  return b.finish();
}

}  // namespace

ModelProgram describe_opt(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const OptSizes sizes = opt_sizes(config);
  const bool bare = weights.shape("model.decoder.embed_tokens.weight").empty() &&
                    !weights.shape("decoder.embed_tokens.weight").empty();
  const std::string prefix = bare ? "decoder." : "model.decoder.";
  const int64_t vocabulary = config.size("vocab_size"), narrow = config.size_or("word_embed_proj_dim", sizes.hidden);
  ModelProgram model;
  model.hidden_size = sizes.hidden;
  model.max_positions = config.size("max_position_embeddings");
  model.tied_embeddings = config.flag_or("tie_word_embeddings", true);
  model.embedding = {prefix + "embed_tokens", vocabulary, narrow};
  model.position_offset = 2;
  model.positions = EmbeddingSpec{prefix + "embed_positions", model.max_positions + 2, sizes.hidden};
  if (narrow != sizes.hidden) {
    model.project_in = LinearSpec{prefix + "project_in", Role::Projection, sizes.hidden, narrow};
    model.project_out = LinearSpec{prefix + "project_out", Role::Projection, narrow, sizes.hidden};
  }
  if (sizes.norm_before && !config.flag_or("_remove_final_layer_norm", false)) {
    model.final_norm = layer_norm(prefix + "final_layer_norm", sizes.hidden, 1e-5);
  }
  model.head = {"lm_head", Role::Head, vocabulary, narrow};
  const int64_t layers = config.size("num_hidden_layers", kMostLayers);
  for (int64_t i = 0; i < layers; ++i) model.blocks.push_back(describe_block(sizes, cat(prefix, "layers.", i, ".")));
  return model;
}

}  // namespace swage::model
