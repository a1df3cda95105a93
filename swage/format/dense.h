// dense: a weight stored unquantized beside its scales, which the reader quantizes (compressed-tensors' "frozen"
// models).
//   weight            float of 16 to 64 bits [O, I]
//   weight_scale      as in int-quantized
//   weight_zero_point I8 of the scale's shape; also of symmetric weights, where it is all 0
// Codes follow compressed-tensors' arithmetic: every step is rounded to the weight's type. Read only: a weight that has
// codes is stored as codes.
#pragma once
#include "swage/format/format.h"

namespace swage::format::dense {

std::vector<io::TensorSpec> specs(const scheme::QuantizationArgs& args, int64_t rows, int64_t columns,
                                  io::Dtype scale_dtype);
std::vector<int64_t> shape(const scheme::QuantizationArgs& args, const TensorLookup& lookup);
std::vector<std::pair<std::string, at::Tensor>> pack(const scheme::QuantizationArgs& args,
                                                     const QuantizedWeight& weight);
QuantizedWeight unpack(const scheme::QuantizationArgs& args, const TensorLookup& lookup);

}  // namespace swage::format::dense
