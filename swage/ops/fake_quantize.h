// Quantization of activations as compressed-tensors does it at run time: the values come back dequantized. Dynamic: one
// scale per token, per group of a token's columns, or per tensor, from the values themselves. Static: scales that the
// checkpoint stores. Local (NVFP4): dynamic e4m3 scales of groups under a stored global scale. Formulas: symmetric int
// absmax / 127.5 (8 bits); asymmetric int (max - min) / 255 with a signed zero point; float8 absmax / 448; float4
// absmax / 6; with scale_dtype uint8 (MX) a power of two. A scale of 0 becomes 2^-23 (e4m3: 2^-3).
#pragma once
#include <ATen/core/Tensor.h>

#include <string>

#include "swage/scheme/quantization.h"

namespace swage::ops {

struct ActivationQuantization {
  scheme::QuantizationArgs args;
  at::Tensor scale = {};         // f32 [1], or one a row in turn (heads); static only
  at::Tensor zero_point = {};    // f32 of the same shape, or undefined
  at::Tensor global_scale = {};  // f32 [1]; local only
};

// Error(Unsupported) naming the module and the setting for what cannot be run.
void check_activation_quantization(const scheme::QuantizationArgs& args, const std::string& module);

// x float32 [T, I] -> a new tensor of the same shape on its grid. Row r takes the static scale r modulo their number.
at::Tensor fake_quantize(const at::Tensor& x_TI, const ActivationQuantization& quantization);

}  // namespace swage::ops
