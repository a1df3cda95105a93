// int-quantized: one code an element, unpacked, whatever its width.
//   weight            I8 [O, I], signed codes without offset; I16 for 9 to 16 bits
//   weight_scale      model dtype; [O, G], [1] for strategy tensor, [ceil(O / rows), ceil(I / columns)] for blocks
//   weight_zero_point of the weight's type and the scale's shape, only when asymmetric
// Columns whose groups were sorted (g_idx) have no place in it.
#pragma once
#include "swage/format/format.h"

namespace swage::format::int_quantized {

std::vector<io::TensorSpec> specs(const scheme::QuantizationArgs& args, int64_t rows, int64_t columns,
                                  io::Dtype scale_dtype);
std::vector<int64_t> shape(const scheme::QuantizationArgs& args, const TensorLookup& lookup);
std::vector<std::pair<std::string, at::Tensor>> pack(const scheme::QuantizationArgs& args,
                                                     const QuantizedWeight& weight);
QuantizedWeight unpack(const scheme::QuantizationArgs& args, const TensorLookup& lookup);

}  // namespace swage::format::int_quantized
