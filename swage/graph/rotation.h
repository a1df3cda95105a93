// Which tensors of a model read or write the spaces that orthogonal matrices can turn: the residual stream and the
// values of attention, where they are folded into the weights on both sides (R1 and R2 of SpinQuant, Liu et al. 2024,
// arXiv:2405.16406), and what a linear reads or makes, where the reader of the checkpoint computes the other side.
#pragma once
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "swage/graph/program.h"

namespace swage::graph {

// What the numbers along a dimension of a tensor are: of the residual stream; of one head of the values after the
// other; what a linear reads or makes.
enum class Basis { Other, Stream, Head, Input, Output };

struct RotatedTensor {
  std::string name;
  std::string source = {};  // where its values are now: the head of a tied model has those of the embedding
  std::optional<std::string> norm =
      {};  // tensor that multiplies its columns first: the norm before it, which becomes ones
  Basis rows = Basis::Other, columns = Basis::Other;  // of its last two dimensions; a bias has columns only
  bool ones = false;                                  // such a norm
  double offset = 0;                                  // that the norm adds to its weight
  RowSlice slice = {};                                // of its rows (of a bias: its numbers) those that turn
  int64_t block = -1;                                 // -1: outside the blocks
  int64_t reads = 0, makes = 0;  // columns and rows of its linear, or of one of its linears; a bias has makes
};

// What is to be turned.
struct RotatedSpaces {
  bool stream = false, heads = false;               // R1, R2
  std::set<std::string> inputs = {}, outputs = {};  // what these linears read, and make
};

struct RotatedTensors {
  std::vector<RotatedTensor> tensors;  // in the order of the checkpoint
  int64_t stream_size = 0, head_size = 0;
  bool unties_head = false;  // norm and rotation differ for embedding and head: they must become two tensors
};

// The tensors that this changes. R2 needs nothing of an architecture but that values come from a linear and reach the
// output projection head by head. Error(Unsupported) saying why, where R1 or R2 would change the function: LayerNorm
// takes a mean, which is in no rotated column; norms behind their layers, learned positions and projections around the
// blocks are not handled; where an input or an output is turned already; for some experts of a tensor that holds
// several; for the head of a model that shares its table with the embedding.
RotatedTensors rotated_tensors(const ModelProgram& model, const RotatedSpaces& spaces);

// Where R3 and R4 are.
struct RotationSites {
  std::vector<std::string> attentions;   // modules: "model.layers.0.self_attn"
  std::vector<std::string> last_of_mlp;  // linears: "model.layers.0.mlp.down_proj", of all experts
  int64_t head_size = 0;                 // 0: they differ
};
RotationSites rotation_sites(const ModelProgram& model);

}  // namespace swage::graph
