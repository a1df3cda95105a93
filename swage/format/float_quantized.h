// float-quantized and naive-quantized: one FP8 code an element.
//   weight       F8_E4M3 [O, I]
//   weight_scale model dtype; [O, G], [1] for strategy tensor, [ceil(O / rows), ceil(I / columns)] for blocks. The
//   weight is
//                never padded to whole blocks.
// naive-quantized is compressed-tensors' name for unpacked weights without activation quantization. Integers in it are
// stored as in int-quantized.
#pragma once
#include "swage/format/format.h"

namespace swage::format::float_quantized {

std::vector<io::TensorSpec> specs(const scheme::QuantizationArgs& args, int64_t rows, int64_t columns,
                                  io::Dtype scale_dtype);
std::vector<int64_t> shape(const scheme::QuantizationArgs& args, const TensorLookup& lookup);
std::vector<std::pair<std::string, at::Tensor>> pack(const scheme::QuantizationArgs& args,
                                                     const QuantizedWeight& weight);
QuantizedWeight unpack(const scheme::QuantizationArgs& args, const TensorLookup& lookup);

}  // namespace swage::format::float_quantized

namespace swage::format::naive_quantized {

std::vector<io::TensorSpec> specs(const scheme::QuantizationArgs& args, int64_t rows, int64_t columns,
                                  io::Dtype scale_dtype);
std::vector<int64_t> shape(const scheme::QuantizationArgs& args, const TensorLookup& lookup);
std::vector<std::pair<std::string, at::Tensor>> pack(const scheme::QuantizationArgs& args,
                                                     const QuantizedWeight& weight);
QuantizedWeight unpack(const scheme::QuantizationArgs& args, const TensorLookup& lookup);

}  // namespace swage::format::naive_quantized
