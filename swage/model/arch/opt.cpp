// OPT (Zhang et al. 2022, arXiv:2205.01068): learned positions from row 2 on, LayerNorm, biases, ReLU. Two layouts: norms
// before (most sizes), or norms after with projections around narrower embeddings and no final norm (350m).
#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"

namespace swage::model {
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
  SWAGE_CHECK(sizes.hidden % sizes.heads == 0, CorruptData, "config.json: hidden_size ", sizes.hidden, " is not a multiple of num_attention_heads ",
              sizes.heads);
  sizes.inner = config.size("ffn_dim");
  sizes.norm_before = config.flag_or("do_layer_norm_before", true);
  sizes.biases = config.flag_or("enable_bias", true);
  sizes.activation = config.activation("activation_function", "relu");
  SWAGE_CHECK(config.flag_or("layer_norm_elementwise_affine", true), Unsupported,
              "config.json: layer_norm_elementwise_affine false is not supported");
  return sizes;
}

BlockDescription describe_block(const OptSizes& sizes, const std::string& prefix) {
  constexpr double kEpsilon = 1e-5;  // PyTorch's default; OPT configs do not give one
  const std::string attention = prefix + "self_attn.";
  BlockDescription block;
  block.norm_after = !sizes.norm_before;
  block.attention_norm = {prefix + "self_attn_layer_norm", NormKind::Layer, sizes.hidden, kEpsilon};
  block.mlp_norm = {prefix + "final_layer_norm", NormKind::Layer, sizes.hidden, kEpsilon};
  block.attention.heads = block.attention.kv_heads = sizes.heads;
  block.attention.head_size = sizes.hidden / sizes.heads;
  block.attention.query = {attention + "q_proj", sizes.hidden, sizes.hidden, sizes.biases};
  block.attention.key = {attention + "k_proj", sizes.hidden, sizes.hidden, sizes.biases};
  block.attention.value = {attention + "v_proj", sizes.hidden, sizes.hidden, sizes.biases};
  block.attention.output = {attention + "out_proj", sizes.hidden, sizes.hidden, sizes.biases};
  MlpDescription mlp;
  mlp.activation = sizes.activation;
  mlp.up = {prefix + "fc1", sizes.inner, sizes.hidden, sizes.biases};
  mlp.down = {prefix + "fc2", sizes.hidden, sizes.inner, sizes.biases};
  block.mlp = mlp;
  return block;
}

}  // namespace

ModelDescription describe_opt(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const OptSizes sizes = opt_sizes(config);
  const bool bare = weights.shape("model.decoder.embed_tokens.weight").empty() && !weights.shape("decoder.embed_tokens.weight").empty();
  const std::string prefix = bare ? "decoder." : "model.decoder.";
  const int64_t vocabulary = config.size("vocab_size"), narrow = config.size_or("word_embed_proj_dim", sizes.hidden);
  ModelDescription model;
  model.hidden_size = sizes.hidden;
  model.max_positions = config.size("max_position_embeddings");
  model.tied_embeddings = config.flag_or("tie_word_embeddings", true);
  model.embedding = {prefix + "embed_tokens", vocabulary, narrow};
  model.position_offset = 2;
  model.positions = EmbeddingDescription{prefix + "embed_positions", model.max_positions + 2, sizes.hidden};
  if (narrow != sizes.hidden) {
    model.project_in = LinearDescription{prefix + "project_in", sizes.hidden, narrow};
    model.project_out = LinearDescription{prefix + "project_out", narrow, sizes.hidden};
  }
  if (sizes.norm_before && !config.flag_or("_remove_final_layer_norm", false)) {
    model.final_norm = NormDescription{prefix + "final_layer_norm", NormKind::Layer, sizes.hidden, 1e-5};
  }
  model.head = {"lm_head", vocabulary, narrow};
  const int64_t layers = config.size("num_hidden_layers", kMostLayers);
  for (int64_t i = 0; i < layers; ++i) model.blocks.push_back(describe_block(sizes, cat(prefix, "layers.", i, ".")));
  return model;
}

}  // namespace swage::model
