// Which pairs of layers of a model the recipe's rescalers (SmoothQuant, AWQ) work on, and what that means for the
// output.
#pragma once
#include <set>
#include <string>
#include <vector>

#include "swage/model/model.h"
#include "swage/modifiers/chain.h"
#include "swage/resolve/assignment.h"
#include "swage/resolve/online_rotations.h"

namespace swage::pipeline {

// One pair with the modifiers that rescale it, in order.
struct Rescaling {
  model::SmoothingPair pair;
  std::vector<const modifiers::Rescaler*> by;
};

struct Rescalings {
  std::vector<std::vector<Rescaling>>
      of_block;                       // those of a block in the order of the forward pass; empty without rescalers
  std::set<std::string> rewritten;    // tensors of the source that keep their name, type and shape but not their values
  std::vector<std::string> warnings;  // pairs that are left alone although a modifier would take them

  bool follow_linears = false;  // some producer is a linear, whose scales change when its consumer's turn comes
};

// A pair takes part if one of its consumers is quantized, and if its producer, where that is a quantized linear, has
// one float scale or more to a row, which can be divided later. One between whose layers the reader rotates
// (`rotations`, may be null) does not. Error(InvalidArgument) naming a mapping of the recipe that matches nothing, or
// that is no identity for this architecture.
Rescalings resolve_rescalings(const modifiers::Chain& chain, const model::Model& model, const Assignment& assignment,
                              const OnlineRotations* rotations = nullptr);

// w / s as the producer of a pair will be stored: s_I is changed a little so that it is exactly the quotient of the old
// and the new values, where these are not 0. w_I f32, `stored` the type of the stored tensor. A norm that adds `offset`
// to its weight is divided with it.
at::Tensor divide_norm(const at::Tensor& w_I, at::ScalarType stored, at::Tensor& s_I, double offset = 0);
// s of the consumers' columns -> s of the producer's outputs.
at::Tensor scales_of_producer(const at::Tensor& s_I, const model::SmoothingPair& pair);

}  // namespace swage::pipeline
