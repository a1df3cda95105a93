// Linears of a program with their weights, out of a checkpoint.
#pragma once
#include <map>
#include <string>

#include "swage/checkpoint/weight_source.h"
#include "swage/graph/parameters.h"
#include "swage/model/block.h"

namespace swage::model {

// Reads each tensor that several linears share once. Error(CorruptData) for absent tensors or other shapes.
class WeightLoader {
 public:
  explicit WeightLoader(const checkpoint::WeightSource& weights) : weights_(weights) {}
  Linear load(const graph::LinearSpec& spec);
  // Undefined: it has none.
  at::Tensor bias_of(const graph::LinearSpec& spec);

 private:
  at::Tensor weight_of(const graph::LinearSpec& spec);
  // As it is stored; null if it has to be loaded.
  std::shared_ptr<const ops::PackedLinear> packed_of(const graph::LinearSpec& spec) const;
  const at::Tensor& whole_of(const graph::Stored& stored);

  const checkpoint::WeightSource& weights_;
  std::map<std::string, at::Tensor> shared_;
};

Linear load_linear(const graph::LinearSpec& spec, const checkpoint::WeightSource& weights);

// What the checkpoint has it multiply its input and output with.
void load_transforms(Linear& linear, const checkpoint::WeightSource& weights);

}  // namespace swage::model
