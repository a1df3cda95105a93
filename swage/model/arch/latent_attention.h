// Latent attention (MLA; DeepSeek-V2, arXiv:2405.04434): queries, keys and values come out of narrow projections, a
// part of keys is one for all heads and turns.
#pragma once
#include "swage/model/arch/parts.h"

namespace swage::model {

struct LatentSizes {
  int64_t hidden, heads, query_rank, latent_rank, nope, rope, value;  // query_rank 0: queries have no narrow projection
  double epsilon, scale;                                              // of norms; of the scores
  bool biases;
  std::optional<PositionScale> query_growth = {};
  bool turns = true;  // rotary embedding
  // An index chooses what a token sees: so many tokens, by so many heads of so many numbers, which `index_table` turns.
  int64_t index_count = 0, index_heads = 0, index_size = 0;
  int index_table = 0;
};

// The rotary embedding is for numbers of LatentSizes::rope, table 0.
LatentSizes latent_sizes(const ConfigFields& config);
// YaRN's factor for the scores, that of mscale_all_dim, squared.
double scale_of_yarn(const ConfigFields& config, const graph::RopeSpec& rope);
// Reads index_topk, index_n_heads and index_head_dim.
void read_index(const ConfigFields& config, LatentSizes& sizes);
// What is added to the stream.
graph::Value latent_attention(graph::BlockBuilder& b, graph::Value x, const LatentSizes& sizes);

}  // namespace swage::model
