// Quantization of activations as compressed-tensors does it at run time: the values come back dequantized. Dynamic: one
// scale per token, per group of a token's columns, or per tensor, from the values themselves. Static: scales that the
// checkpoint stores. Local (NVFP4): dynamic e4m3 scales of groups under a stored global scale. Formulas: symmetric int
// absmax / 127.5 (8 bits); asymmetric int (max - min) / 255 with a signed zero point; float8 absmax / 448; float4
// absmax / 6; with scale_dtype uint8 (MX) a power of two. A scale of 0 becomes 2^-23 (e4m3: 2^-3).
#pragma once
#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

#include "swage/checkpoint/weight_source.h"
#include "swage/scheme/quantization.h"

namespace swage::model {

struct ActivationQuantization {
  scheme::QuantizationArgs args;
  at::Tensor scale = {};         // f32 [1], or one a row in turn (heads); static only
  at::Tensor zero_point = {};    // f32 of the same shape, or undefined
  at::Tensor global_scale = {};  // f32 [1]; local only
};

// Error(Unsupported) naming the module and the setting for what cannot be run.
void check_activation_quantization(const scheme::QuantizationArgs& args, const std::string& module);

// How the checkpoint asks for the input of a linear to be quantized, with the stored scales; nothing if it does not
// ask. Error(CorruptData) if a scale is missing or has the wrong shape.
std::optional<ActivationQuantization> load_input_quantization(const std::string& module,
                                                              const checkpoint::WeightSource& weights);

// The same for the queries, keys or values of an attention module, `heads` heads whose scales are stored as `scale`
// ("model.layers.0.self_attn.k_scale"), by the arguments that the checkpoint has for them.
std::optional<ActivationQuantization> load_head_quantization(const std::optional<scheme::QuantizationArgs>& args,
                                                             const std::string& scale, int64_t heads,
                                                             const checkpoint::WeightSource& weights);

// x float32 [T, I] -> a new tensor of the same shape on its grid. Row r takes the static scale r modulo their number.
at::Tensor fake_quantize(const at::Tensor& x_TI, const ActivationQuantization& quantization);

}  // namespace swage::model
