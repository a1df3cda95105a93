// Gram matrix X^T X of the inputs of a linear layer, in one symmetric rank-k update per batch.
#pragma once
#include <ATen/core/Tensor.h>

namespace swage::ops {

// gram_II (f64 [I, I], contiguous) += x^T x for x_TI (f32 [T, I], contiguous). Only the upper triangle (row <= column)
// is updated; call gram_finish() once at the end. Products are summed in f32 over short runs of tokens and in f64
// across them. The result does not depend on the number of threads. Half the flops of a full product.
void gram_add(const at::Tensor& x_TI, at::Tensor& gram_II);
// Mirrors the upper triangle to the lower one.
void gram_finish(at::Tensor& gram_II);

}  // namespace swage::ops
