// What calibration finds out about activations, and what a checkpoint stores of it: scales of static inputs, NVFP4's global
// scale, scales of the KV cache.
#pragma once
#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

#include "swage/checkpoint/writer.h"
#include "swage/io/tensor_spec.h"
#include "swage/model/block.h"
#include "swage/scheme/quantization.h"

namespace swage::pipeline {

// Whether the activations' scale, or a part of it, has to come from calibration.
bool needs_range(const scheme::QuantizationArgs& activations);

struct Range {
  double low = 0, high = 0;  // 0 is inside
};
// Smallest and largest value of what all flows' linears are about to read, or of the rows routed to `expert` if that is not
// negative. Error(Numerical) if one is not finite.
Range input_range(const std::vector<model::Flow>& flows, int expert);

// The quantization of a linear's input with the scale that `range` gives, rounded to the type it is stored in
// (static scales: the model's; the global scale: solvers::global_scale_of()). `range` does not matter for dynamic ones.
model::ActivationQuantization input_quantization(const scheme::QuantizationArgs& args, const Range& range, at::ScalarType stored);
// Suffix, type and shape of what a linear stores of its input: input_scale [1], input_zero_point [1], input_global_scale [1].
std::vector<io::TensorSpec> input_specs(const scheme::QuantizationArgs& args, io::Dtype scale_dtype);
void put_input(checkpoint::Writer& writer, const std::string& module, const model::ActivationQuantization& input, at::ScalarType stored);

// The same for keys and values of `heads` heads: k_scale and v_scale, [1] or [heads, 1, 1], absmax / 448.
std::vector<io::TensorSpec> cache_specs(const scheme::QuantizationArgs& args, int64_t heads, io::Dtype scale_dtype);
void put_cache(checkpoint::Writer& writer, const std::string& attention, const scheme::QuantizationArgs& args, const model::CacheRange& range,
               at::ScalarType stored);

}  // namespace swage::pipeline
