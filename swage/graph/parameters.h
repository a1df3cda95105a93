// Parameters of a model and where a checkpoint has them: a linear's weight may be a tensor of its own, or a slice of
// one that several share.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "swage/graph/role.h"

namespace swage::graph {

// Place of a weight [O, I] in a checkpoint. By default the tensor is the module's name + ".weight", whole.
struct Stored {
  std::string tensor = {};          // that holds it; empty: the module's own
  std::vector<int64_t> shape = {};  // of that tensor, if it is shared
  int64_t index = 0;                // along its first dimension, if it has three: the expert
  int64_t first_row = 0;            // of the weight within that matrix
  int64_t row_step = 1;             // between its rows there: 2 where those of gate and up take turns
  bool transposed = false;          // the matrix is [I, O]

  bool shared() const { return !tensor.empty(); }
  bool operator==(const Stored&) const = default;
};

// Linear layer: y = x W^T + b.
struct LinearSpec {
  std::string name;  // module path: "model.layers.0.self_attn.q_proj"
  Role role = Role::Other;
  int64_t rows = 0, columns = 0;
  bool bias = false;
  int expert = -1;           // of a mixture, whose linear it is
  bool keeps_float = false;  // it is not to be quantized, as a gate of one row
  bool common = false;       // several blocks have it: none may change it
  Stored stored = {};
  // Where the bias is if not in a tensor of its own, [E, rows of that tensor's weight], or in one of another name.
  Stored stored_bias = {};

  std::string tensor() const { return stored.shared() ? stored.tensor : name + ".weight"; }
};

// Rms: x / rms(x) * (w + offset). Layer: (x - mean) / deviation * (w + offset) + b.
enum class NormKind { Rms, Layer };

struct NormSpec {
  std::string name;  // module path; its tensors are name.weight and name.bias
  NormKind kind = NormKind::Rms;
  int64_t size = 0;  // numbers that are normed together
  double epsilon = 1e-6;
  bool weight = true, bias = false;
  double offset = 0;   // 1: the checkpoint stores w - 1 (Gemma)
  int64_t heads = 0;   // weights of its own for each of so many heads: w [heads, size]; 0: one w [size]
  bool apart = false;  // those are tensors of their own: name.0.weight, name.1.weight, ...
  bool flat = false;   // they lie one after the other: w [heads * size]
  bool bare = false;   // the weight's tensor is called as the module is
  bool greek = false;  // the tensors are called name.gamma and name.beta, as TensorFlow has them

  std::string tensor() const { return bare ? name : name + (greek ? ".gamma" : ".weight"); }
  std::string bias_tensor() const { return name + (greek ? ".beta" : ".bias"); }
  std::vector<int64_t> shape() const {
    if (flat) return {heads * size};
    return heads > 0 ? std::vector<int64_t>{heads, size} : std::vector<int64_t>{size};
  }
};

struct EmbeddingSpec {
  std::string name;
  int64_t rows = 0, columns = 0;
};

// Rows of a linear's output that are one of several things it makes: for each of `groups` runs of `stride` rows, `size`
// rows from `first` on.
struct RowSlice {
  int64_t groups = 1, stride = 0, first = 0, size = 0;  // size 0: all rows

  bool all() const { return size == 0; }
  int64_t count() const { return groups * size; }
  // Row of the linear's output that is number i of the slice.
  int64_t row(int64_t i) const { return i / size * stride + first + i % size; }
};

}  // namespace swage::graph
