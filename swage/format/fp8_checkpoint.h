// Weights of quant_method "fp8" (scheme/fp8_config.h), which are read and not written: "weight" F8_E4M3 [O, I] and
// "weight_scale_inv" or, of AutoFP8 and FBGEMM, "weight_scale": [ceil(O / rows), ceil(I / columns)] of blocks, the last
// ones smaller, [O] or [O, 1] of rows, [], [1] or [1, 1] of the tensor; f32, bf16, f16, or F8_E8M0 for powers of two.
// value = code * scale, whatever the name says.
#pragma once
#include "swage/format/format.h"

namespace swage::format::fp8_checkpoint {

std::vector<io::TensorSpec> specs(const scheme::QuantizationArgs& args, int64_t rows, int64_t columns,
                                  io::Dtype scale_dtype);
std::vector<int64_t> shape(const scheme::QuantizationArgs& args, const TensorLookup& lookup);
std::vector<std::pair<std::string, at::Tensor>> pack(const scheme::QuantizationArgs& args,
                                                     const QuantizedWeight& weight);
QuantizedWeight unpack(const scheme::QuantizationArgs& args, const TensorLookup& lookup);

}  // namespace swage::format::fp8_checkpoint
