// A model by the sizes of its parts, without weights: what is planned from.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "swage/graph/program.h"
#include "swage/graph/schedule.h"

namespace swage::graph {

// One linear (or embedding) of the model without its weight, for planning.
struct ModuleInfo {
  std::string name;        // "model.layers.0.self_attn.q_proj", "lm_head"
  std::string class_name;  // "Linear", "Embedding"; a router counts as "Linear"
  int64_t rows = 0, columns = 0;
  int block = -1;           // -1: outside the blocks
  bool quantizable = true;  // false for routers, which stay float
  Role role = Role::Other;
  Stored stored = {};       // where its weight is
  int expert = -1;          // of a mixture, whose linear it is
  Stored stored_bias = {};  // where its bias is, if that shares a tensor

  int64_t parameters() const { return rows * columns; }
  std::string tensor() const { return stored.shared() ? stored.tensor : name + ".weight"; }  // that holds its weight
  bool is_head() const { return role == Role::Head; }
  bool is_embedding() const { return class_name == "Embedding"; }
};

// Attention of a block, as far as scales of a KV cache go.
struct AttentionInfo {
  std::string name;         // module path
  std::string keys;         // the linear that makes them
  std::string keys_tensor;  // that holds its weight
  int64_t heads = 0, kv_heads = 0, head_size = 0;
};

struct BlockShape {
  std::vector<ModuleInfo> linears;  // that can be quantized; Stage counts them
  std::vector<Stage> stages;        // as of Block
  std::vector<ModuleInfo> routers;
  size_t routers_at = 0;         // of the linears, before which they stand in module order
  int64_t other_parameters = 0;  // of norms, biases and the like
  int64_t norms = 0;
  int64_t heads = 0, query_size = 0;  // of attention; numbers in a token's query, all heads together
  int64_t window = 0;                 // 0: every token sees all before it
  int64_t experts = 0, top_k = 0;     // 0: no mixture
  int64_t kept_width = 0;             // numbers a token that lie beside the stream and the input of a stage

  int64_t parameters() const;  // all of them
};

struct ModelShape {
  int64_t hidden_size = 0, vocabulary_size = 0;
  bool tied_embeddings = false;
  std::vector<ModuleInfo> ends;  // embeddings, projections, the head
  std::vector<BlockShape> blocks;
  int64_t other_parameters = 0;     // outside the blocks: final norm, biases
  int64_t side_parameters = 0;      // copied and never computed with: a vision tower, layers that draft tokens
  int64_t repeated_parameters = 0;  // of tensors that several blocks have: each counts them, the checkpoint once

  int64_t parameters() const;               // of the checkpoint: a tied head counts once
  std::vector<ModuleInfo> modules() const;  // embeddings and projections, blocks, the head
};

using TensorVisitor = std::function<void(const std::string& name, const std::vector<int64_t>& shape)>;

// The block's tensors as the checkpoint stores them.
void visit_tensors(const BlockProgram& block, const TensorVisitor& visit);
// The tensors outside the blocks: those before them, or those after them (final norm, projection, untied head).
void visit_tensors_before(const ModelProgram& model, const TensorVisitor& visit);
void visit_tensors_after(const ModelProgram& model, const TensorVisitor& visit);

// Every linear and embedding in module order: embeddings and projections, blocks, the head.
std::vector<ModuleInfo> modules_of(const ModelProgram& model);
// `patterns` of a recipe with the head's own name in place of "lm_head", by which recipes and defaults call the head of
// every model.
std::vector<std::string> with_head_named(std::vector<std::string> patterns, const std::vector<ModuleInfo>& modules);
std::optional<AttentionInfo> attention_of(const BlockProgram& block);
ModelShape shape_of(const ModelProgram& model);

}  // namespace swage::graph
