// Block program: what a decoder block computes, as typed nodes over named values, in the order in which they run. All
// that others need to know of a block (its tensors, modules, stages, smoothing pairs, rotations, counts, and the
// forward pass itself) is derived from it, each by one function.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "swage/graph/parameters.h"
#include "swage/graph/rope_spec.h"

namespace swage::graph {

using Value = int;            // index into BlockProgram::values
constexpr Value kStream = 0;  // the residual stream: in when the block begins, out when its last node has run

struct ValueInfo {
  std::string name;   // for people: "x", "query"
  int64_t width = 0;  // numbers a token
};

enum class Activation { Relu, Relu2, Silu, Gelu, GeluTanh, Sigmoid, Identity };

// --- Nodes. Each makes `out` of its operands; where `out` is an operand too, in place. ---

struct NormNode {
  Value in, out;
  NormSpec norm;  // over runs of norm.size numbers: all of `in`, or each head
};

struct LinearNode {
  Value in, out;
  int linear;  // index into BlockProgram::linears
};

// For each of `groups` runs of `in`, sizes[i] numbers go to out[i], in turn.
struct SplitNode {
  Value in;
  std::vector<Value> out;
  int64_t groups;
  std::vector<int64_t> sizes;
};

// The reverse for heads: of each head, the numbers of in[0], then those of in[1]. One with a single head is repeated.
struct JoinNode {
  std::vector<Value> in;
  Value out;
  int64_t heads;
};

// Turns numbers [first, first + rope.size) of each head.
struct RopeNode {
  Value in, out;
  int64_t heads, first;
  int table;  // index into ModelProgram::ropes
};

// Causal attention.
struct AttentionNode {
  Value query = -1, key = -1, value = -1, out = -1;
  std::string name = {};  // module path, beside which scales of its cache are stored: "model.layers.0.self_attn"
  int64_t heads = 0, kv_heads = 0, head_size = 0, value_size = 0;
  double scale = 1;        // of the scores
  int64_t window = 0;      // a token sees itself and window - 1 tokens before it; 0: all of them
  double softcap = 0;      // scores become cap * tanh(score / cap); 0: they stay
  double alibi = 0;        // factor of the slopes by which scores fall with the distance (Press et al. 2022,
                           // arXiv:2108.12409); 0: they do not
  std::string sinks = {};  // tensor [heads] of scores that take part in the softmax and have no value; empty: none
};

struct ActivateNode {
  Value in, out;
  Activation activation;
};

// activation(gate) * up; a gate of one number a token multiplies all of them.
struct GateNode {
  Value gate, up, out;
  Activation activation;
};

struct ScaleNode {
  Value in, out;
  double factor;
};

// Limits numbers to [-limit, limit].
struct ClampNode {
  Value in, out;
  double limit;
};

// The stream takes up `in`.
struct AddNode {
  Value in;
};

enum class RouterKind { Softmax, Sigmoid };

struct Expert {
  int gate, up, down;  // indices into BlockProgram::linears
};

// Sparse mixture of experts: each token goes to its `top_k` experts, whose outputs are summed by weight.
struct ExpertsNode {
  Value in = -1, out = -1;
  LinearSpec router = {};
  std::string router_bias = {};  // tensor [experts] that is added to the scores for the choice alone; empty: none
  RouterKind kind = RouterKind::Softmax;
  int64_t top_k = 0;
  bool renormalise = true;             // the chosen weights are made to sum to one
  double factor = 1;                   // that weights are multiplied with
  int64_t groups = 1, top_groups = 1;  // only experts of the best groups are chosen from
  int64_t best_of_group = 1;           // a group is as good as its best so many experts together
  Activation activation = Activation::Silu;
  std::vector<Expert> experts = {};
};

using Node = std::variant<NormNode, LinearNode, SplitNode, JoinNode, RopeNode, AttentionNode, ActivateNode, GateNode,
                          ScaleNode, ClampNode, AddNode, ExpertsNode>;

struct BlockProgram {
  std::vector<ValueInfo> values;
  std::vector<LinearSpec> linears;  // that can be quantized, in module order
  std::vector<Node> nodes;

  const AttentionNode* attention() const;
  const ExpertsNode* experts() const;
};

// A causal language model: embedding, blocks, head.
struct ModelProgram {
  int64_t hidden_size = 0;
  int64_t max_positions = 0;  // 0: no bound known
  bool tied_embeddings = false;
  EmbeddingSpec embedding;
  double embedding_scale = 1;
  std::optional<NormSpec> embedding_norm;
  std::optional<EmbeddingSpec> positions;  // learned; row `position + position_offset`
  int64_t position_offset = 0;
  std::optional<LinearSpec> project_in, project_out;
  std::optional<NormSpec> final_norm;
  LinearSpec head;
  double logit_scale = 1, logit_softcap = 0;  // logits become cap * tanh(logit / cap); 0: they stay
  std::vector<RopeSpec> ropes;
  std::vector<BlockProgram> blocks;
  int64_t side_parameters = 0;  // copied and never computed with: a vision tower, layers that draft tokens
  std::string not_run;          // why no forward pass is made of it; empty: one is
};

// Values that a node reads, and that it makes.
std::vector<Value> operands_of(const Node& node);
std::vector<Value> results_of(const Node& node);

// Leaves the first `count` experts; the linears behind them move up.
void keep_experts(BlockProgram& block, int64_t count);

// A program as text, a line a node.
std::string text_of(const BlockProgram& block);
std::string text_of(const ModelProgram& model);  // blocks that are alike once

}  // namespace swage::graph
