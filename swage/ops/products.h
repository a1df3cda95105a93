// Matrix products of a model on a GPU, in ops::product_type(): bf16 with f32 sums, or f32.
// T tokens, O output rows, I input columns.
#pragma once
#include <ATen/core/Tensor.h>

namespace swage::ops {

// a b in f32, for two matrices of bf16 or of f32.
at::Tensor product(const at::Tensor& a, const at::Tensor& b);

// sum += a b, sum in f32.
void add_product(const at::Tensor& a, const at::Tensor& b, at::Tensor& sum);

// A matrix in the type that products are made in, kept for as long as the matrix stays what it is.
class Narrow {
 public:
  const at::Tensor& of(const at::Tensor& weight_OI);

 private:
  c10::weak_intrusive_ptr<c10::TensorImpl> source_{c10::intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>()};
  uint32_t version_ = 0;
  at::Tensor narrow_OI_;
};

// x W^T + b in f32 for x [T, I] of any float type, W f32 [O, I] and b f32 [O], undefined for none: on a CPU in f32, on
// a GPU in the type that products are made in there, with W as `narrow` keeps it.
at::Tensor linear(const at::Tensor& x_TI, const at::Tensor& weight_OI, const at::Tensor& bias_O, Narrow& narrow);
// out [T, O] += x W^T, in one pass over it.
void add_linear(const at::Tensor& x_TI, const at::Tensor& weight_OI, Narrow& narrow, at::Tensor& out_TO);

}  // namespace swage::ops
