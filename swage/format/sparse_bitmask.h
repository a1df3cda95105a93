// Weights that compressed-tensors up to 0.14 stored without their zeros, in place of MODULE.weight [R, C]:
//   sparse-bitmask     shape I64 [2], compressed [values], the non-zeros in row-major order, row_offsets I64 [R], the
//   index of each
//                      row's first value
//   sparse-24-bitmask  shape I64 [2, 1], compressed [R, C / 2]: two of every four columns
//   both               bitmask U8 [R, ceil(C / 8)]: column j is bit j % 8 of byte j / 8
// The values have the weight's type, or FP8 where float-quantized codes were stored so. Read only.
#pragma once
#include "swage/format/format.h"

namespace swage::format {

// Whether the module stores its weight so. The suffixes are those of the module: "bitmask", "compressed", ...
bool is_sparse(const TensorLookup& lookup);
// [R, C]; Error(CorruptData) if the parts do not fit together.
std::vector<int64_t> sparse_shape(const TensorLookup& lookup);
// The weight with its zeros.
at::Tensor expand_sparse(const TensorLookup& lookup);

}  // namespace swage::format
