#include "swage/model/norm.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/rms_norm.h>

#include "swage/base/error.h"
#include "swage/io/tensor_spec.h"
#include "swage/model/row_kernels.h"

namespace swage::model {
namespace {

bool fits_row_kernels(const at::Tensor& x) { return x.is_cpu() && x.scalar_type() == at::kFloat && x.is_contiguous(); }

void rms_norm_rows(const at::Tensor& x, const at::Tensor& weight, double epsilon, at::Tensor& out) {
  const int64_t size = weight.size(0);
  rows::rms_norm(x.const_data_ptr<float>(), weight.const_data_ptr<float>(), x.numel() / size, size, static_cast<float>(epsilon),
                 out.mutable_data_ptr<float>());
}

std::string text_of(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace

at::Tensor load_shaped(const checkpoint::WeightSource& weights, const std::string& name, const std::vector<int64_t>& shape) {
  const std::vector<int64_t> stored = weights.shape(name);
  SWAGE_CHECK(!stored.empty(), CorruptData, "the config asks for tensor ", name, " of shape ", text_of(shape),
              ", which the checkpoint does not have");
  SWAGE_CHECK(stored == shape, CorruptData, name, ": the config says shape ", text_of(shape), ", the checkpoint has ", text_of(stored));
  at::Tensor tensor = weights.load(name);
  SWAGE_CHECK(tensor.sizes() == at::IntArrayRef(shape) && tensor.scalar_type() == at::kFloat, Internal, name,
              ": the weight source gave another shape or type than it announced");
  return tensor;
}

Norm::Norm(const NormDescription& description, const checkpoint::WeightSource& weights)
    : description_(description),
      weight_(load_shaped(weights, description.name + ".weight", {description.size})) {
  if (description.kind == NormKind::Layer) bias_ = load_shaped(weights, description.name + ".bias", {description.size});
}

at::Tensor Norm::operator()(const at::Tensor& x) const {
  if (description_.kind == NormKind::Layer) {
    return at::layer_norm(x, {description_.size}, weight_, bias_, description_.epsilon);
  }
  if (!fits_row_kernels(x)) return at::rms_norm(x, {description_.size}, weight_, description_.epsilon);
  at::Tensor out = at::empty_like(x);
  rms_norm_rows(x, weight_, description_.epsilon, out);
  return out;
}

void Norm::apply_(at::Tensor& x) const {
  if (description_.kind == NormKind::Rms && fits_row_kernels(x)) {
    return rms_norm_rows(x, weight_, description_.epsilon, x);
  }
  x.copy_((*this)(x));
}

}  // namespace swage::model
