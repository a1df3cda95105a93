// Convolutions of tokens with their neighbours on either side.
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/checkpoint/weight_source.h"
#include "swage/graph/program.h"

namespace swage::model {

// O numbers of a token that it makes, I that it reads, J kernel.
struct Neighbours {
  at::Tensor weight_OIJ, bias_O;
};
Neighbours load_neighbours(const graph::NeighbourNode& node, const graph::BlockProgram& block,
                           const checkpoint::WeightSource& weights);
// x [T, I] -> [T, O]; beyond the ends all is zero.
at::Tensor convolve(const Neighbours& neighbours, const graph::NeighbourNode& node, const at::Tensor& x_TI);

}  // namespace swage::model
