#include "swage/model/weight_loader.h"

#include "swage/model/norm.h"
#include "swage/model/stored_part.h"

namespace swage::model {

using graph::LinearSpec, graph::Stored, scheme::TransformLocation;

void load_transforms(Linear& linear, const checkpoint::WeightSource& weights) {
  linear.input_transform = weights.transform({linear.name}, TransformLocation::Input, linear.columns);
  linear.output_transform = weights.transform({linear.name}, TransformLocation::Output, linear.rows);
}

Linear load_linear(const LinearSpec& spec, const checkpoint::WeightSource& weights) {
  return WeightLoader(weights).load(spec);
}

Linear WeightLoader::load(const LinearSpec& spec) {
  Linear linear{.name = spec.name, .rows = spec.rows, .columns = spec.columns};
  linear.input_quantization = load_input_quantization(spec.name, weights_);
  load_transforms(linear, weights_);
  linear.packed = packed_of(spec);
  if (!linear.packed) linear.weight_OI = weight_of(spec);
  linear.bias_O = bias_of(spec);
  linear.stored_in = spec.tensor();
  return linear;
}

at::Tensor WeightLoader::bias_of(const LinearSpec& spec) {
  if (spec.stored_bias.shared()) return bias_part(spec.stored_bias, spec.rows, whole_of(spec.stored_bias)).contiguous();
  return spec.bias ? load_shaped(weights_, spec.name + ".bias", {spec.rows}) : at::Tensor();
}

std::shared_ptr<const ops::PackedLinear> WeightLoader::packed_of(const LinearSpec& spec) const {
  const std::vector<int64_t> shape = {spec.rows, spec.columns};
  const bool whole = !spec.stored.shared() && !spec.stored.transposed;
  return whole && weights_.shape(spec.tensor()) == shape ? weights_.packed(spec.tensor()) : nullptr;
}

at::Tensor WeightLoader::weight_of(const LinearSpec& spec) {
  const Stored& stored = spec.stored;
  if (stored.shared()) {
    const at::Tensor part = weight_part(stored, spec.rows, whole_of(stored));
    return stored.transposed || stored.row_step > 1 ? part.contiguous() : part;
  }
  if (stored.transposed) return load_shaped(weights_, spec.tensor(), {spec.columns, spec.rows}).t().contiguous();
  return load_shaped(weights_, spec.tensor(), {spec.rows, spec.columns});
}

const at::Tensor& WeightLoader::whole_of(const Stored& stored) {
  at::Tensor& whole = shared_[stored.tensor];
  if (!whole.defined()) whole = load_shaped(weights_, stored.tensor, stored.shape);
  return whole;
}

}  // namespace swage::model
