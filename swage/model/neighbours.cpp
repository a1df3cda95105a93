#include "swage/model/neighbours.h"

#include <ATen/ops/conv1d.h>

#include "swage/model/mlp.h"
#include "swage/model/norm.h"

namespace swage::model {

Neighbours load_neighbours(const graph::NeighbourNode& node, const graph::BlockProgram& block,
                           const checkpoint::WeightSource& weights) {
  const int64_t rows = block.values[size_t(node.out)].width, columns = block.values[size_t(node.in)].width;
  return {load_shaped(weights, node.name + ".weight", {rows, columns, node.kernel}),
          load_shaped(weights, node.name + ".bias", {rows})};
}

at::Tensor convolve(const Neighbours& neighbours, const graph::NeighbourNode& node, const at::Tensor& x_TI) {
  const at::Tensor out_OT =
      at::conv1d(x_TI.t().unsqueeze(0), neighbours.weight_OIJ, neighbours.bias_O, {1}, {(node.kernel - 1) / 2})
          .squeeze(0);
  at::Tensor out_TO = out_OT.t().contiguous();
  activate_(out_TO, node.activation);
  return out_TO;
}

}  // namespace swage::model
