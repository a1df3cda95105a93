// How a checkpoint asks for activations to be quantized (ops/fake_quantize.h).
#pragma once
#include <optional>
#include <string>

#include "swage/checkpoint/weight_source.h"
#include "swage/ops/fake_quantize.h"

namespace swage::model {

using ops::ActivationQuantization, ops::check_activation_quantization, ops::fake_quantize;

// How the checkpoint asks for the input of a linear to be quantized, with the stored scales; nothing if it does not
// ask. Error(CorruptData) if a scale is missing or has the wrong shape.
std::optional<ActivationQuantization> load_input_quantization(const std::string& module,
                                                              const checkpoint::WeightSource& weights);

// The same for the queries, keys or values of an attention module, `heads` heads whose scales are stored as `scale`
// ("model.layers.0.self_attn.k_scale"), by the arguments that the checkpoint has for them.
std::optional<ActivationQuantization> load_head_quantization(const std::optional<scheme::QuantizationArgs>& args,
                                                             const std::string& scale, int64_t heads,
                                                             const checkpoint::WeightSource& weights);

}  // namespace swage::model
