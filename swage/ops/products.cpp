#include "swage/ops/products.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>

#include "swage/ops/device.h"
#include "swage/ops/rows_alone.h"

namespace swage::ops {

at::Tensor product(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() == at::kFloat) return at::mm(a, b);
  return a.is_cpu() ? at::mm(a.to(at::kFloat), b.to(at::kFloat)) : at::mm(a, b, at::kFloat);
}

void add_product(const at::Tensor& a, const at::Tensor& b, at::Tensor& sum) {
  if (a.scalar_type() == at::kFloat)
    sum.addmm_(a, b);
  else if (a.is_cpu())
    sum.add_(product(a, b));
  else
    at::addmm_out(sum, sum, a, b, at::kFloat);
}

const at::Tensor& Narrow::of(const at::Tensor& weight_OI) {
  const at::ScalarType type = product_type(weight_OI.device());
  if (weight_OI.scalar_type() == type) return weight_OI;
  const uint32_t version = weight_OI.is_inference() ? 0 : uint32_t(weight_OI._version());
  const bool same = narrow_OI_.defined() && source_._unsafe_get_target() == weight_OI.unsafeGetTensorImpl() &&
                    !source_.expired() && version_ == version;
  if (same) return narrow_OI_;
  narrow_OI_ = weight_OI.to(type);
  source_ = c10::weak_intrusive_ptr<c10::TensorImpl>(weight_OI.getIntrusivePtr());
  version_ = version;
  return narrow_OI_;
}

at::Tensor linear(const at::Tensor& x_TI, const at::Tensor& weight_OI, const at::Tensor& bias_O, Narrow& narrow) {
  if (x_TI.is_cpu()) return RowsAlone::on() ? dot_rows(x_TI, weight_OI, bias_O) : at::linear(x_TI, weight_OI, bias_O);
  const at::Tensor& narrow_OI = narrow.of(weight_OI);
  at::Tensor out_TO = product(x_TI.to(narrow_OI.scalar_type()), narrow_OI.t());
  if (bias_O.defined()) out_TO.add_(bias_O);
  return out_TO;
}

void add_linear(const at::Tensor& x_TI, const at::Tensor& weight_OI, Narrow& narrow, at::Tensor& out_TO) {
  if (x_TI.is_cpu() && RowsAlone::on()) return dot_rows(x_TI, weight_OI, {}, true, out_TO);
  if (x_TI.is_cpu()) {
    out_TO.addmm_(x_TI, weight_OI.t());
    return;
  }
  const at::Tensor& narrow_OI = narrow.of(weight_OI);
  add_product(x_TI.to(narrow_OI.scalar_type()), narrow_OI.t(), out_TO);
}

}  // namespace swage::ops
