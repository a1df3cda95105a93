// deepseek_v3 (DeepSeek-V3, R1): latent attention and a mixture with a shared expert. qwen2_5_vl: a Qwen2 behind a vision tower.
#include "swage/model/arch/size_table.h"

#include <algorithm>

#include "swage/base/error.h"
#include "swage/checkpoint/no_weights.h"
#include "swage/model/arch/architectures.h"

namespace swage::model {
namespace {

struct DeepSeek {
  int64_t hidden, heads, query_rank, latent_rank, nope, rope, value, inner, expert_inner, experts, shared, top_k;
};

DeepSeek deepseek_sizes(const ConfigFields& config) {
  DeepSeek out{};
  out.hidden = config.size("hidden_size");
  out.heads = config.size("num_attention_heads", 65536);
  out.query_rank = config.size_or("q_lora_rank", 0);
  out.latent_rank = config.size("kv_lora_rank");
  out.nope = config.size("qk_nope_head_dim", 65536);
  out.rope = config.size("qk_rope_head_dim", 65536);
  out.value = config.size("v_head_dim", 65536);
  out.inner = config.size("intermediate_size");
  out.expert_inner = config.size("moe_intermediate_size");
  out.experts = config.size("n_routed_experts", kMostExperts);
  out.shared = config.size_or("n_shared_experts", 0, kMostExperts);
  out.top_k = config.size("num_experts_per_tok", kMostExperts);
  const int64_t head = std::max(out.nope, out.value) + out.rope;
  SWAGE_CHECK(out.heads * head <= kLargestSize, CorruptData, "config.json: num_attention_heads ", out.heads, " of up to ", head, " numbers each are too large");
  SWAGE_CHECK(out.shared * out.expert_inner <= kLargestSize, CorruptData, "config.json: n_shared_experts ", out.shared, " times moe_intermediate_size ",
              out.expert_inner, " is too large");
  return out;
}

// Adds a linear; returns its index for a Stage.
int add(BlockShape& block, int index, const std::string& name, int64_t rows, int64_t columns) {
  block.linears.push_back({name, "Linear", rows, columns, index, true});
  return static_cast<int>(block.linears.size()) - 1;
}

void add_attention(const DeepSeek& d, const std::string& prefix, int index, BlockShape& block) {
  block.heads = d.heads;
  block.query_size = d.heads * (d.nope + d.rope);
  block.norms = 2 + (d.query_rank > 0) + 1;
  block.other_parameters = 2 * d.hidden + d.query_rank + d.latent_rank;
  std::vector<int> readers;
  int query_b = -1;
  if (d.query_rank > 0) {
    readers.push_back(add(block, index, prefix + "q_a_proj", d.query_rank, d.hidden));
    query_b = add(block, index, prefix + "q_b_proj", block.query_size, d.query_rank);
  } else {
    readers.push_back(add(block, index, prefix + "q_proj", block.query_size, d.hidden));
  }
  readers.push_back(add(block, index, prefix + "kv_a_proj_with_mqa", d.latent_rank + d.rope, d.hidden));
  const int values = add(block, index, prefix + "kv_b_proj", d.heads * (d.nope + d.value), d.latent_rank);
  const int output = add(block, index, prefix + "o_proj", d.hidden, d.heads * d.value);
  block.stages.push_back({"attention input", {{readers}}});
  if (query_b >= 0) block.stages.push_back({"queries", {{{query_b}}}});
  block.stages.push_back({"keys and values", {{{values}}}});
  block.stages.push_back({"attention output", {{{output}}}, true});
}

// gate, up and down: the group of the first two goes into `inputs`, that of the third becomes a stage of `outputs`.
void add_mlp(const std::string& prefix, int index, int64_t hidden, int64_t inner, int expert, BlockShape& block, Stage& inputs, std::vector<Stage>& outputs) {
  const int gate = add(block, index, prefix + "gate_proj", inner, hidden), up = add(block, index, prefix + "up_proj", inner, hidden);
  const int down = add(block, index, prefix + "down_proj", hidden, inner);
  inputs.groups.push_back({{gate, up}, expert});
  outputs.push_back({expert < 0 ? std::string("mlp output") : cat("expert ", expert, " output"), {{{down}, expert}}});
}

BlockShape deepseek_block(const DeepSeek& d, int index, bool mixture) {
  const std::string prefix = cat("model.layers.", index, "."), mlp = prefix + "mlp.";
  BlockShape block;
  add_attention(d, prefix + "self_attn.", index, block);
  Stage inputs{"mlp input", {}};
  std::vector<Stage> outputs;
  if (mixture) {
    block.experts = d.experts;
    block.top_k = d.top_k;
    block.routers.push_back({mlp + "gate", "Linear", d.experts, d.hidden, index, false});
    block.other_parameters += d.experts;  // a bias for each
    for (int e = 0; e < d.experts; ++e) add_mlp(cat(mlp, "experts.", e, "."), index, d.hidden, d.expert_inner, e, block, inputs, outputs);
    if (d.shared > 0) add_mlp(mlp + "shared_experts.", index, d.hidden, d.shared * d.expert_inner, -1, block, inputs, outputs);
  } else {
    add_mlp(mlp, index, d.hidden, d.inner, -1, block, inputs, outputs);
  }
  block.stages.push_back(std::move(inputs));
  for (Stage& stage : outputs) block.stages.push_back(std::move(stage));
  return block;
}

ModelShape deepseek_v3(const ConfigFields& config) {
  const DeepSeek d = deepseek_sizes(config);
  const int64_t layers = config.size("num_hidden_layers", kMostLayers), dense = config.json().get_int("first_k_dense_replace", 0);
  const int64_t step = config.size_or("moe_layer_freq", 1), drafting = config.json().get_int("num_nextn_predict_layers", 0);
  SWAGE_CHECK(drafting >= 0 && drafting <= 64, CorruptData, "config.json: num_nextn_predict_layers must be from 0 to 64, not ", drafting);
  SWAGE_CHECK(layers * d.experts <= kMostModules, CorruptData, "config.json: num_hidden_layers ", layers, " times n_routed_experts ", d.experts, " is too large");
  ModelShape out;
  out.hidden_size = d.hidden;
  out.vocabulary_size = config.size("vocab_size");
  out.tied_embeddings = config.flag_or("tie_word_embeddings", false);
  out.other_parameters = d.hidden;
  out.ends = {{"model.embed_tokens", "Embedding", out.vocabulary_size, d.hidden, -1, true}, {"lm_head", "Linear", out.vocabulary_size, d.hidden, -1, true}};
  for (int64_t i = 0; i < layers; ++i) out.blocks.push_back(deepseek_block(d, static_cast<int>(i), i >= dense && i % step == 0));
  // A drafting layer is a block, two norms before and one after it, a projection of twice the width, an embedding and a head.
  const BlockShape draft = deepseek_block(d, static_cast<int>(layers), true);
  out.side_parameters = drafting * (draft.parameters() + 3 * d.hidden + 2 * d.hidden * d.hidden + 2 * out.vocabulary_size * d.hidden);
  out.not_run = "latent attention";
  return out;
}

// Patches, blocks of attention and a gated MLP with biases, and what joins neighbouring patches for the text model.
int64_t vision_tower(const Json& vision) {
  const ConfigFields config(vision);
  const int64_t hidden = config.size("hidden_size"), inner = config.size("intermediate_size"), depth = config.size("depth", kMostLayers);
  const int64_t patch = config.size("patch_size", 1024), frames = config.size_or("temporal_patch_size", 2, 1024);
  const int64_t channels = config.size_or("in_chans", config.size_or("in_channels", 3, 1024), 1024);
  const int64_t merged = config.size_or("spatial_merge_size", 2, 1024) * config.size_or("spatial_merge_size", 2, 1024) * hidden;
  SWAGE_CHECK(merged <= kLargestSize, CorruptData, "config.json: vision_config: spatial_merge_size squared times hidden_size is ", merged, ", too large");
  const int64_t attention = 4 * hidden * hidden + 4 * hidden, mlp = 3 * hidden * inner + 2 * inner + hidden, norms = 2 * hidden;
  const int64_t merger = hidden + merged * merged + merged + (merged + 1) * config.size("out_hidden_size");
  return hidden * channels * frames * patch * patch + depth * (attention + mlp + norms) + merger;
}

ModelShape qwen2_5_vl(const ConfigFields& config) {
  const Json* text = config.json().find("text_config");
  Json fields = text != nullptr && text->is_object() ? *text : config.json();
  fields.set("rope_scaling", Json());  // positions in three dimensions: no matter of size
  fields.set("rope_parameters", Json());
  ModelShape out = shape_of(describe_qwen2(ConfigFields(fields), checkpoint::NoWeights()));
  const Json* vision = config.json().find("vision_config");
  SWAGE_CHECK(vision != nullptr && vision->is_object(), CorruptData, "config.json: vision_config is missing");
  out.side_parameters = vision_tower(*vision);
  out.not_run = "a vision tower and positions in three dimensions";
  return out;
}

struct Row {
  const char* model_type;
  ModelShape (*sizes)(const ConfigFields&);
};
constexpr Row kTable[] = {{"deepseek_v3", deepseek_v3}, {"qwen2_5_vl", qwen2_5_vl}};

}  // namespace

std::optional<ModelShape> known_sizes(const Json& config) {
  const ConfigFields fields(config);
  const std::string model_type = fields.text_or("model_type", "");
  for (const Row& row : kTable) {
    if (model_type == row.model_type) return row.sizes(fields);
  }
  return {};
}

std::vector<std::string> sized_model_types() {
  std::vector<std::string> out;
  for (const Row& row : kTable) out.emplace_back(row.model_type);
  return out;
}

}  // namespace swage::model
