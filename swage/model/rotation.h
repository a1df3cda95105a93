// Which tensors of a model read or write the residual stream and the values of attention: an orthogonal matrix can be folded into
// these so that the function stays as it is. R1 and R2 of SpinQuant (Liu et al. 2024, arXiv:2405.16406).
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "swage/model/description.h"

namespace swage::model {

// What the numbers along a dimension of a tensor are: of the residual stream, or of one head of the values after the other.
enum class Basis { Other, Stream, Head };

struct RotatedTensor {
  std::string name;
  std::string source;                // where its values are now: the head of a tied model has those of the embedding
  std::optional<std::string> norm;   // tensor that multiplies its columns first: the norm before it, which becomes ones
  Basis rows = Basis::Other, columns = Basis::Other;  // of its last two dimensions; a bias has columns only
  bool ones = false;                 // such a norm
  int64_t block = -1;                // -1: outside the blocks
};

struct RotatedTensors {
  std::vector<RotatedTensor> tensors;  // in the order of the checkpoint
  int64_t stream_size = 0, head_size = 0;
  bool unties_head = false;            // norm and rotation differ for embedding and head: they must become two tensors
};

// The tensors that R1 (`stream`) and R2 (`heads`) change. R2 needs nothing of an architecture but that values reach the output
// projection head by head. Error(Unsupported) saying why, where R1 would change the function: LayerNorm takes a mean, which is in no rotated
// column; norms behind their layers, learned positions and projections around the blocks are not handled.
RotatedTensors rotated_tensors(const ModelDescription& model, bool stream, bool heads);

}  // namespace swage::model
