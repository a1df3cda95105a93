// Block program: what a block of a model computes, as typed nodes over named values, in the order in which they run.
// All that others need to know of a block (its tensors, modules, stages, smoothing pairs, rotations, counts, and the
// forward pass itself) is derived from it, each by one function.
#pragma once
#include <cstdint>
#include <functional>
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

enum class Activation {
  Relu,
  Relu2,
  Silu,
  Gelu,
  GeluTanh,
  Sigmoid,
  Identity,
  QuickGelu,  // x * sigmoid(1.702 x)
  Tanh,
  Xielu,  // (arXiv:2411.13010), whose four numbers are tensors
};

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

// What scores gain by how far a key lies from a query: a learned number for each bucket of distances and head (T5,
// Raffel et al. 2020, arXiv:1910.10683).
struct RelativeBias {
  std::string table;          // tensor [buckets, heads]
  bool own = true;            // the tensor is this block's; false: it is listed with an earlier one
  int64_t buckets, distance;  // those of more than `distance` share the last bucket
  bool both_sides = false;    // keys behind the query have buckets of their own
};

// What scores gain by queries meeting embeddings of the distance, and those meeting keys: disentangled attention
// (DeBERTa, He et al. 2021, arXiv:2006.03654).
struct Disentangled {
  std::string table;             // tensor [at least 2 * span, hidden], of distances -span to span - 1
  std::optional<NormSpec> norm;  // of its rows
  bool own = true;               // both are this block's; false: they are listed with an earlier one
  int64_t span;
  int64_t buckets = 0, distance;    // distances beyond buckets / 2 share buckets, up to `distance`; 0: they do not
  bool to_position, from_position;  // query with key position; query position with key
  int query, key;                   // linears that project the table; those of the tokens
  std::optional<LinearSpec> own_query, own_key;  // in their place
};

struct AttentionNode {
  Value query = -1, key = -1, value = -1, out = -1;
  std::string name = {};  // module path, beside which scales of its cache are stored: "model.layers.0.self_attn"
  int64_t heads = 0, kv_heads = 0, head_size = 0, value_size = 0;
  double scale = 1;    // of the scores
  bool causal = true;  // false: a token sees those behind it too
  int64_t window = 0;  // a token sees itself and window - 1 tokens before it (on either side); 0: all of them
  int64_t chunk = 0;   // a token sees those of its own run of so many; 0: all of them
  double softcap = 0;  // scores become cap * tanh(score / cap); 0: they stay
  double alibi = 0;    // factor of the slopes by which scores fall with the distance (Press et al. 2022,
                       // arXiv:2108.12409); 0: they do not
  // Sparse attention (DeepSeek-V3.2): a token sees the `index_count` tokens with the largest sum over heads of
  // relu(index_query index_key^T) times index_weights; index_count 0: all of them.
  Value index_query = -1, index_key = -1, index_weights = -1;
  int64_t index_heads = 0, index_count = 0;
  std::string sinks = {};  // tensor [heads] of scores that take part in the softmax and have no value; empty: none
  std::optional<RelativeBias> relative = {};
  std::optional<Disentangled> disentangled = {};
};

// A convolution of each number with its own past: activation(sum_j w[j] x[t - kernel + 1 + j] + b).
struct ConvolutionNode {
  Value in, out;
  // Tensors name.weight [channels, 1, kernel] and, with `bias`, name.bias [channels], one after the other.
  struct Part {
    std::string name;
    int64_t channels;
  };
  std::vector<Part> parts;
  int64_t kernel;
  bool bias;
  Activation activation;
};

// A convolution of all numbers of a token and its neighbours on either side:
// activation(sum_j W[:, :, j] x[t + j - (kernel - 1) / 2] + b).
struct NeighbourNode {
  Value in, out;
  std::string name;  // tensors name.weight [width of out, width of in, kernel] and name.bias
  int64_t kernel;
  Activation activation;
};

// A state S [key size, value size] for each head, which each token lets decay and writes to:
//   S <- exp(-rate * step) S + key u^T,  out = S^T (query * query_scale) + skip * value
// step = softplus(gate + gate_bias) within [least_step, most_step]. u is value (times step with `steps_values`), or,
// with `delta`, what the state lacks of it: sigmoid(beta) * beta_factor * (value - S^T key), S decayed already. State
// spaces (Mamba, arXiv:2312.00752, 2405.21060), gated delta nets (arXiv:2412.06464), lightning attention
// (arXiv:2401.04658).
struct RecurrenceNode {
  Value query = -1, key = -1, value = -1, gate = -1, beta = -1, out = -1;  // gate, beta -1: there is none
  int64_t heads = 0, key_heads = 0, key_size = 0, value_size = 0;          // queries and keys have key_heads
  std::string rates = {};                 // tensor of the rates' logarithms; empty: `fixed_rates`
  std::vector<int64_t> rates_shape = {};  // [heads], [heads, key size], or with ones in between
  std::vector<double> fixed_rates = {};   // of each head
  std::string gate_bias = {};             // tensor as wide as the gate: one for each head, or for each number of a key
  std::string skip = {};                  // tensor [heads]; empty: none
  double least_step = 0, most_step = 0;   // most_step 0: no bound
  double query_scale = 1, beta_factor = 1;
  bool steps_values = false, delta = false;
  bool unit_keys = false;  // queries and keys are made of length 1 first
};

struct ActivateNode {
  Value in, out;
  Activation activation;
  std::string parameters = {};  // module whose tensors alpha_p, alpha_n [1], beta and eps [] Xielu has
};

// How gate and up become one.
struct Gating {
  Activation activation = Activation::Silu;
  double limit = 0;      // gate is at most this, up within [-limit, limit]; 0: they are as they are
  double up_offset = 0;  // that is added to up
};

// activation(gate) * (up + offset); a gate of one number a token multiplies all of them.
struct GateNode {
  Value gate, up, out;
  Gating gating;
};

// Numbers [first, first + width of out) of each token.
struct SliceNode {
  Value in, out;
  int64_t first;
};

// The stream's numbers from `first` on become `in`.
struct WriteNode {
  Value in;
  int64_t first;
};

// Rows of the source, of a stream that holds those of source and target.
struct SourceNode {
  Value out;
};

// Times a tensor: of one number [1], or of one for each of `in` [size].
struct MultiplyNode {
  Value in, out;
  std::string name;
  int64_t size = 1;
};

// Numbers below mean + deviations * standard deviation of all of a token become 0, from the others that is subtracted
// (Gemma 3n's sparse activations).
struct CutNode {
  Value in, out;
  double deviations;
};

// `in` of the length of `like`: in * rms(like) / max(rms(in), least).
struct MatchNode {
  Value in, like, out;
  double least;
};

struct ScaleNode {
  Value in, out;
  double factor;
};

// Numbers grow with the position p: times 1 + scale * log(1 + floor((p + offset) / period)).
struct PositionScaleNode {
  Value in, out;
  double scale, offset, period;
};

// Limits numbers to [-limit, limit].
struct ClampNode {
  Value in, out;
  double limit;
};

struct SumNode {
  std::vector<Value> in;
  Value out;
};

// The stream takes up `in`; where it is wider, its first numbers do.
struct AddNode {
  Value in;
};

// Mixer (Phi 3.5 MoE; arXiv:2409.12136): the best, then the best of the others, each weighted by the softmax over those
// that are hardly worse, ExpertsNode::jitter.
enum class RouterKind { Softmax, Sigmoid, Mixer };

struct Expert {
  int gate, up, down;  // indices into BlockProgram::linears; gate -1: there is none

  std::vector<int> inputs() const { return gate < 0 ? std::vector<int>{up} : std::vector<int>{gate, up}; }
};

// Sparse mixture of experts: each token goes to its `top_k` experts, whose outputs are summed by weight.
struct ExpertsNode {
  Value in = -1, out = -1;
  Value router_in = -1;  // what the router reads
  LinearSpec router = {};
  std::string router_bias = {};  // tensor [experts] that is added to the scores for the choice alone; empty: none
  bool bias_is_row = false;      // that tensor is [1, experts]
  RouterKind kind = RouterKind::Softmax;
  int64_t top_k = 0;
  bool renormalise = true;             // the chosen weights are made to sum to one
  double factor = 1;                   // that weights are multiplied with
  int64_t groups = 1, top_groups = 1;  // only experts of the best groups are chosen from
  int64_t best_of_group = 1;           // a group is as good as its best so many experts together
  bool weighs_input = false;           // it is what experts read that is weighted, not what they make
  double jitter = 0;                   // RouterKind::Mixer
  std::string weight_scale = {};       // tensor [experts] that weights are multiplied with; empty: none
  Gating gating = {};
  std::vector<Expert> experts = {};
};

using Node =
    std::variant<NormNode, LinearNode, SplitNode, JoinNode, RopeNode, AttentionNode, ConvolutionNode, NeighbourNode,
                 RecurrenceNode, ActivateNode, GateNode, SliceNode, WriteNode, SourceNode, MultiplyNode, ScaleNode,
                 PositionScaleNode, ClampNode, CutNode, MatchNode, SumNode, AddNode, ExpertsNode>;

// Rows of the stream that a block reads and writes: of an encoder-decoder model, whose stream holds the tokens of the
// source and then those of the target, the encoder's blocks have the source, the decoder's the target.
enum class Rows { All, Source, Target };

struct BlockProgram {
  Rows rows = Rows::All;
  std::vector<ValueInfo> values;
  std::vector<LinearSpec> linears;  // that can be quantized, in module order
  std::vector<Node> nodes;

  const AttentionNode* attention() const;
  const ExpertsNode* experts() const;
  bool has_state() const;  // that tokens leave behind beside keys and values
};

// What the head's logits say of a token.
enum class Predicts {
  Next,      // which one follows it: a causal language model
  Masked,    // which one stands in its place
  Replaced,  // one number: whether it is not the one that the text had (ELECTRA)
  Nothing,   // there is no head
};

// How the target's tokens enter an encoder-decoder model, where otherwise than the source's.
struct TargetEmbedding {
  std::optional<EmbeddingSpec> positions;
  std::optional<NormSpec> norm;
  int64_t start_token = 0;  // that stands before a target
};

// A language model: embedding, blocks, head.
struct ModelProgram {
  std::string architecture;  // the model_type that it is a program of
  Predicts predicts = Predicts::Next;
  int64_t hidden_size = 0;
  int64_t max_positions = 0;  // 0: no bound known
  bool tied_embeddings = false;
  EmbeddingSpec embedding;
  double embedding_scale = 1;
  // The stream of some families carries more than the hidden state: behind it lie what a second embedding gives each
  // layer, keys and values that later layers share. `prologue` makes it of [embedding, second embedding, zeros].
  int64_t stream_width = 0;  // 0: hidden_size
  std::optional<EmbeddingSpec> second_embedding;
  double second_embedding_scale = 1;
  std::optional<BlockProgram> prologue;  // its linears stay as they are
  std::optional<BlockProgram> epilogue;  // the same before the final norm, which reads the stream's first numbers
  std::optional<NormSpec> embedding_norm;
  std::optional<EmbeddingSpec> positions;  // learned; row `position + position_offset`
  int64_t position_offset = 0;
  int64_t unnumbered_token = -1;  // has row position_offset - 1, and the others are numbered without it; -1: none
  std::optional<EmbeddingSpec> token_types;
  bool positions_first = false;  // positions and token types are added before norm and projection
  std::optional<TargetEmbedding> target;
  std::optional<LinearSpec> project_in, project_out;
  std::optional<NormSpec> final_norm;
  std::optional<BlockProgram> head_transform;  // makes what the head reads; its linears stay as they are
  LinearSpec head;                             // no rows: there is none
  double logit_scale = 1, logit_softcap = 0;   // logits become cap * tanh(logit / cap); 0: they stay
  std::vector<RopeSpec> ropes;
  std::vector<BlockProgram> blocks;
  int64_t side_parameters = 0;            // copied and never computed with: a vision tower, layers that draft tokens
  std::vector<std::string> side_modules;  // beginnings of the names of what is copied so, where it is known
};

// Values that a node reads, and that it makes.
std::vector<Value> operands_of(const Node& node);
std::vector<Value> results_of(const Node& node);

// Gives every module and tensor the name that `name` makes of its own.
void rename(ModelProgram& model, const std::function<std::string(const std::string&)>& name);

// Leaves the first `count` experts; the linears behind them move up.
void keep_experts(BlockProgram& block, int64_t count);

// A program as text, a line a node.
std::string text_of(const BlockProgram& block);
std::string text_of(const ModelProgram& model);  // blocks that are alike once

}  // namespace swage::graph
