// A model by the sizes of its parts, without weights: what is planned from. Made from a description, or from the config of an
// architecture whose sizes are known although no forward pass of it is written (arch/size_table.h).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "swage/model/block.h"
#include "swage/model/description.h"

namespace swage::model {

// One linear (or embedding) of the model without its weight, for planning.
struct ModuleInfo {
  std::string name;        // "model.layers.0.self_attn.q_proj", "lm_head"
  std::string class_name;  // "Linear", "Embedding"; a router counts as "Linear"
  int64_t rows = 0, columns = 0;
  int block = -1;           // -1: outside the blocks
  bool quantizable = true;  // false for routers, which stay float

  int64_t parameters() const { return rows * columns; }
};

struct BlockShape {
  std::vector<ModuleInfo> linears;   // that can be quantized; Stage counts them
  std::vector<Stage> stages;         // as of Block
  std::vector<ModuleInfo> routers;
  int64_t other_parameters = 0;      // of norms and biases
  int64_t norms = 0;
  int64_t heads = 0, query_size = 0; // of attention; numbers in a token's query, all heads together
  int64_t window = 0;                // 0: every token sees all before it
  int64_t experts = 0, top_k = 0;    // 0: no mixture

  int64_t parameters() const;        // all of them
};

struct ModelShape {
  int64_t hidden_size = 0, vocabulary_size = 0;
  bool tied_embeddings = false;
  std::vector<ModuleInfo> ends;      // embeddings, projections, the head, in the order of Model::modules(): embeddings before the blocks
  std::vector<BlockShape> blocks;
  int64_t other_parameters = 0;      // outside the blocks: final norm, biases
  int64_t side_parameters = 0;       // copied and never computed with: a vision tower, layers that draft tokens
  std::string not_run;               // why no forward pass is made of it; empty: one is

  int64_t parameters() const;        // of the checkpoint: a tied head counts once
  std::vector<ModuleInfo> modules() const;
};

// Stages of a block with these linears, in the order in which visit_linears() gives the quantizable ones.
std::vector<Stage> stages_of(const BlockDescription& block);
ModelShape shape_of(const ModelDescription& model);

}  // namespace swage::model
