// RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467) and LayerNorm over the last dimension, computed in float32.
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/checkpoint/weight_source.h"
#include "swage/graph/parameters.h"

namespace swage::model {

class Norm {
 public:
  Norm() = default;
  // Loads the norm's tensors. Error(CorruptData) if one is absent or has another shape.
  Norm(const graph::NormSpec& spec, const checkpoint::WeightSource& weights);
  // x [..., size] contiguous -> a new tensor of the same shape.
  at::Tensor operator()(const at::Tensor& x) const;
  // The same in place, for norms over heads; x [T, H, size] where each head has weights of its own.
  void apply_(at::Tensor& x) const;

 private:
  graph::NormSpec spec_;
  at::Tensor weight_, bias_;
};

// A tensor that must have `shape`; Error(CorruptData) naming it, both shapes, otherwise.
at::Tensor load_shaped(const checkpoint::WeightSource& weights, const std::string& name,
                       const std::vector<int64_t>& shape);
// The same for a table whose rows are looked up, in f32 or the type that it is stored in.
at::Tensor load_shaped_table(const checkpoint::WeightSource& weights, const std::string& name,
                             const std::vector<int64_t>& shape);

}  // namespace swage::model
