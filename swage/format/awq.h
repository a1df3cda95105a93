// AWQ in AutoAWQ's "gemm" layout: 4-bit codes packed along the outputs. O outputs, I inputs, G groups of consecutive
// inputs.
//   qweight I32 [I, O / 8]  unsigned codes 0..15. Word c of a row holds outputs 8c .. 8c+7; bits 4i .. 4i+3 hold output
//   8c + P[i],
//                           P = 0 2 4 6 1 3 5 7. Codes 0 to 7 for outputs 0 to 7 make 0x75316420.
//   qzeros  I32 [G, O / 8]  zero points 0..15 in the same order
//   scales  F16 [G, O]      (read in any float type)
// Weights without zero points are stored with zero points of 8.
#pragma once
#include "swage/format/format.h"

namespace swage::format {

const Format& awq_format();
// Whether all zero points in these qzeros are 8, so that the weight is symmetric.
bool awq_zeros_are_symmetric(const at::Tensor& qzeros);

}  // namespace swage::format
