// The loss of a change of a weight on the tokens of a Gram matrix. O output rows, I input columns.
#pragma once
#include <ATen/core/Tensor.h>

namespace swage::ops {

// tr(A H A^T) for A [O, I] and a Gram matrix H [I, I], symmetric, both f32 and on one device. On the CPU the same bits
// for any number of threads; on a GPU within 1e-3.
double quadratic_form(const at::Tensor& a_OI, const at::Tensor& gram_II);

}  // namespace swage::ops
