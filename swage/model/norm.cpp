#include "swage/model/norm.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/stack.h>

#include "swage/base/error.h"
#include "swage/io/tensor_spec.h"
#include "swage/kernels/cuda/device_kernels.h"
#include "swage/model/row_kernels.h"
#include "swage/ops/device.h"

namespace swage::model {
namespace {

bool fits_row_kernels(const at::Tensor& x) { return x.is_cpu() && x.scalar_type() == at::kFloat && x.is_contiguous(); }

bool fits_device_kernels(const at::Tensor& x) {
  return !x.is_cpu() && x.scalar_type() == at::kFloat && x.is_contiguous();
}

void rms_norm_on_device(const at::Tensor& x, const at::Tensor& weight, double epsilon, const at::Tensor& out) {
  const at::Device device = x.device();
  const char* who = "rms_norm";
  const kernels::RmsNormRows rows{ops::data_on<float>(device, x, who),
                                  ops::data_on<float>(device, weight, who),
                                  x.numel() / weight.size(0),
                                  weight.size(0),
                                  static_cast<float>(epsilon),
                                  ops::mutable_data_on<float>(device, out, who),
                                  nullptr};
  ops::run(who, ops::device_kernels().rms_norm, rows, device);
}

void rms_norm_rows(const at::Tensor& x, const at::Tensor& weight, double epsilon, at::Tensor& out) {
  const int64_t size = weight.size(0);
  rows::rms_norm(x.const_data_ptr<float>(), weight.const_data_ptr<float>(), x.numel() / size, size,
                 static_cast<float>(epsilon), out.mutable_data_ptr<float>());
}

std::string text_of(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace

at::Tensor load_shaped(const checkpoint::WeightSource& weights, const std::string& name,
                       const std::vector<int64_t>& shape) {
  const std::vector<int64_t> stored = weights.shape(name);
  SWAGE_CHECK(!stored.empty(), CorruptData, "the config asks for tensor ", name, " of shape ", text_of(shape),
              ", which the checkpoint does not have");
  SWAGE_CHECK(stored == shape, CorruptData, name, ": the config says shape ", text_of(shape), ", the checkpoint has ",
              text_of(stored));
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
  if (spec.bias) bias_ = load_shaped(weights, spec.name + ".bias", spec.shape());
}

at::Tensor Norm::operator()(const at::Tensor& x) const {
  if (spec_.heads > 0) {
    const at::Tensor normed = spec_.kind == graph::NormKind::Layer
                                  ? at::layer_norm(x, {spec_.size}, {}, {}, spec_.epsilon)
                                  : at::rms_norm(x, {spec_.size}, {}, spec_.epsilon);
    return bias_.defined() ? normed.mul(weight_).add_(bias_) : normed.mul(weight_);
  }
  if (spec_.kind == graph::NormKind::Layer) return at::layer_norm(x, {spec_.size}, weight_, bias_, spec_.epsilon);
  if (weight_.defined() && fits_device_kernels(x)) {
    at::Tensor out = at::empty_like(x);
    rms_norm_on_device(x, weight_, spec_.epsilon, out);
    return out;
  }
  if (!weight_.defined()) return at::rms_norm(x, {spec_.size}, {}, spec_.epsilon);
  if (!fits_row_kernels(x)) return at::rms_norm(x, {spec_.size}, weight_, spec_.epsilon);
  at::Tensor out = at::empty_like(x);
  rms_norm_rows(x, weight_, spec_.epsilon, out);
  return out;
}

void Norm::apply_(at::Tensor& x) const {
  if (spec_.kind == graph::NormKind::Rms && spec_.heads == 0 && weight_.defined() && fits_row_kernels(x)) {
    return rms_norm_rows(x, weight_, spec_.epsilon, x);
  }
  const bool plain = spec_.kind == graph::NormKind::Rms && spec_.heads == 0 && weight_.defined();
  if (plain && fits_device_kernels(x)) return rms_norm_on_device(x, weight_, spec_.epsilon, x);
  x.copy_((*this)(x));
}

}  // namespace swage::model
