// What an architecture file makes of a config.json: sizes, kinds and checkpoint names of everything a forward pass needs.
// Data only; decoder_block.h and decoder_model.h run it.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "swage/model/rope.h"

namespace swage::model {

enum class Activation { Relu, Silu, Gelu, GeluTanh };
// Rms: x / rms(x) * w. Layer: (x - mean) / deviation * w + b.
enum class NormKind { Rms, Layer };

struct NormDescription {
  std::string name;  // module path; its tensors are name.weight and, for Layer, name.bias
  NormKind kind = NormKind::Rms;
  int64_t size = 0;
  double epsilon = 1e-6;
};

struct LinearDescription {
  std::string name;
  int64_t rows = 0, columns = 0;
  bool bias = false;
};

struct AttentionDescription {
  int64_t heads = 0, kv_heads = 0, head_size = 0;
  LinearDescription query, key, value, output;
  std::optional<NormDescription> query_norm, key_norm;  // over each head
  bool rope = false;
  int64_t window = 0;  // a token sees itself and window - 1 tokens before it; 0: all of them
};

// down(activation(gate(x)) * up(x)), or down(activation(up(x))) without a gate.
struct MlpDescription {
  Activation activation = Activation::Silu;
  std::optional<LinearDescription> gate;
  LinearDescription up, down;
};

// Softmax over all experts, the best `top_k`, whose weights are made to sum to one if `renormalise`.
struct MoeDescription {
  LinearDescription router;
  int64_t top_k = 0;
  bool renormalise = true;
  std::vector<MlpDescription> experts;
  // Experts stored as fused + ".gate_up_proj" [E, 2I, D] and fused + ".down_proj" [E, D, I]; empty: one by one.
  std::string fused;
};

// Where the linears of a block stand in Block::linears: these, then the MLP's or the experts', each [gate] up down.
enum LinearIndex { kQuery, kKey, kValue, kOutput, kMlp };

struct BlockDescription {
  NormDescription attention_norm, mlp_norm;
  bool norm_after = false;  // h = norm(h + f(h)) instead of h = h + f(norm(h))
  AttentionDescription attention;
  std::variant<MlpDescription, MoeDescription> mlp;
};

struct EmbeddingDescription {
  std::string name;
  int64_t rows = 0, columns = 0;
};

struct ModelDescription {
  int64_t hidden_size = 0;
  int64_t max_positions = 0;  // 0: no bound known
  bool tied_embeddings = false;
  EmbeddingDescription embedding;
  std::optional<EmbeddingDescription> positions;  // learned; row `position + position_offset`
  int64_t position_offset = 0;
  std::optional<LinearDescription> project_in, project_out;
  std::optional<NormDescription> final_norm;
  LinearDescription head;
  std::optional<RopeDescription> rope;
  std::vector<BlockDescription> blocks;
};

using TensorVisitor = std::function<void(const std::string& name, const std::vector<int64_t>& shape)>;
using LinearVisitor = std::function<void(const LinearDescription& linear, bool quantizable)>;

// The block's tensors as the checkpoint stores them, in module order.
void visit_tensors(const BlockDescription& block, const TensorVisitor& visit);
// The tensors outside the blocks: those before them, or those after them (final norm, projection, untied head).
void visit_tensors_before(const ModelDescription& model, const TensorVisitor& visit);
void visit_tensors_after(const ModelDescription& model, const TensorVisitor& visit);
// The block's linears in module order; fused experts one by one. Routers are not quantizable.
void visit_linears(const BlockDescription& block, const LinearVisitor& visit);

}  // namespace swage::model
