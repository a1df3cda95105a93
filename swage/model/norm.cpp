#include "swage/model/norm.h"

#include <ATen/ops/layer_norm.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/stack.h>

#include "swage/base/error.h"
#include "swage/io/tensor_spec.h"
#include "swage/ops/rows.h"

namespace swage::model {
namespace {

std::string text_of(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

void check_shape(const checkpoint::WeightSource& weights, const std::string& name, const std::vector<int64_t>& shape) {
  const std::vector<int64_t> stored = weights.shape(name);
  SWAGE_CHECK(!stored.empty(), CorruptData, "the config asks for tensor ", name, " of shape ", text_of(shape),
              ", which the checkpoint does not have");
  SWAGE_CHECK(stored == shape, CorruptData, name, ": the config says shape ", text_of(shape), ", the checkpoint has ",
              text_of(stored));
}

}  // namespace

at::Tensor load_shaped_table(const checkpoint::WeightSource& weights, const std::string& name,
                             const std::vector<int64_t>& shape) {
  check_shape(weights, name, shape);
  return weights.load_table(name);
}

at::Tensor load_shaped(const checkpoint::WeightSource& weights, const std::string& name,
                       const std::vector<int64_t>& shape) {
  check_shape(weights, name, shape);
  at::Tensor tensor = weights.load(name);
  SWAGE_CHECK(tensor.sizes() == at::IntArrayRef(shape) && tensor.scalar_type() == at::kFloat, Internal, name,
              ": the weight source gave another shape or type than it announced");
  return tensor;
}

Norm::Norm(const graph::NormSpec& spec, const checkpoint::WeightSource& weights) : spec_(spec) {
  std::vector<at::Tensor> heads;
  for (int64_t head = 0; spec.apart && head < spec.heads; ++head)
    heads.push_back(load_shaped(weights, cat(spec.name, ".", head, ".weight"), {spec.size}));
  if (!heads.empty())
    weight_ = at::stack(heads);
  else if (spec.weight)
    weight_ = load_shaped(weights, spec.tensor(), spec.shape());
  if (spec.flat && weight_.defined()) weight_ = weight_.view({spec.heads, spec.size});
  if (spec.weight && spec.offset != 0) weight_ = weight_.add(spec.offset);
  if (spec.bias) bias_ = load_shaped(weights, spec.bias_tensor(), spec.shape());
}

at::Tensor Norm::operator()(const at::Tensor& x) const {
  if (spec_.heads > 0) {
    const at::Tensor normed = spec_.kind == graph::NormKind::Layer
                                  ? at::layer_norm(x, {spec_.size}, {}, {}, spec_.epsilon)
                                  : at::rms_norm(x, {spec_.size}, {}, spec_.epsilon);
    return bias_.defined() ? normed.mul(weight_).add_(bias_) : normed.mul(weight_);
  }
  if (spec_.kind == graph::NormKind::Layer) return at::layer_norm(x, {spec_.size}, weight_, bias_, spec_.epsilon);
  if (!weight_.defined()) return at::rms_norm(x, {spec_.size}, {}, spec_.epsilon);
  return ops::rms_norm(x, weight_, spec_.epsilon);
}

void Norm::apply_(at::Tensor& x) const {
  if (spec_.kind == graph::NormKind::Rms && spec_.heads == 0 && weight_.defined())
    ops::rms_norm_(x, weight_, spec_.epsilon);
  else
    x.copy_((*this)(x));
}

}  // namespace swage::model
