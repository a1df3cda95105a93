// Dynamic quantization of a linear's input, as compressed-tensors does it at run time: one scale per token (row), from the
// row's own values; the values come back dequantized. Symmetric int: absmax / 127.5 (8 bits); asymmetric int:
// (max - min) / 255 with a signed zero point; float8 e4m3: absmax / 448. A scale of 0 becomes 2^-23.
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/scheme/quantization.h"

namespace swage::model {

// Error(Unsupported) naming the setting for anything but dynamic per-token int (up to 8 bits) or float8.
void check_input_quantization(const scheme::QuantizationArgs& args, const std::string& module);

// x [T, I] float32 -> a new tensor of the same shape on the grid of each row. `args` passed the check above.
at::Tensor fake_quantize_tokens(const at::Tensor& x_TI, const scheme::QuantizationArgs& args);

}  // namespace swage::model
