// What calibration finds out about activations, and what a checkpoint stores of it: scales of static inputs, NVFP4's
// global scale, scales of the KV cache.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "swage/checkpoint/writer.h"
#include "swage/io/tensor_spec.h"
#include "swage/model/block.h"
#include "swage/observers/observer.h"
#include "swage/scheme/quantization.h"

namespace swage::pipeline {

// The type that scales of these arguments are stored in where it is not the format's own: their scale_dtype, else
// `stored`, the model's.
io::Dtype scale_dtype_of(const scheme::QuantizationArgs& args, io::Dtype stored);

// Whether the activations' scale, or a part of it, has to come from calibration.
bool needs_range(const scheme::QuantizationArgs& activations);

// The observer that `activations` name, after what all flows' linears are about to read, multiplied with `transform` if
// there is one, one flow a batch and in their order; or the rows routed to `expert` if that is not negative and any
// are. `done`: told of each flow that is not needed any more, in any thread. Error(Numerical) for NaN or infinity.
std::unique_ptr<observers::Observer> observe_inputs(
    const scheme::QuantizationArgs& activations, const std::vector<model::Flow>& flows, int expert,
    const std::shared_ptr<const ops::Transform>& transform = nullptr,
    const std::function<void(size_t)>& done = [](size_t) {});

// The quantization of a linear's input with the scale of the observed range, rounded to the type it is stored in
// (static scales: the model's; the global scale: solvers::global_scale_of()). `observed` may be null for dynamic
// inputs.
model::ActivationQuantization input_quantization(const scheme::QuantizationArgs& args,
                                                 const observers::Observer* observed, at::ScalarType stored);
// Suffix, type and shape of what a linear stores of its input: input_scale [1], input_zero_point [1],
// input_global_scale [1].
std::vector<io::TensorSpec> input_specs(const scheme::QuantizationArgs& args, io::Dtype scale_dtype);
void put_input(checkpoint::Writer& writer, const std::string& module, const model::ActivationQuantization& input,
               at::ScalarType stored);

// The observer of the queries, keys or values that attention computes with, fed one flow a batch like those of inputs.
class HeadObserver {
 public:
  // `flows`: how many there will be.
  HeadObserver(const scheme::QuantizationArgs& args, size_t flows);
  // Takes in flow `index`'s [H, T, E]; thread-safe for different flows.
  void observe(size_t index, const at::Tensor& x_HTE);
  // After all of them: writes their scale as tensor `name`.
  void put(checkpoint::Writer& writer, const std::string& name, at::ScalarType stored);

 private:
  scheme::QuantizationArgs args_;
  std::unique_ptr<observers::Observer> observer_;
  std::vector<observers::BatchRange> ranges_;
};

// What is stored of queries, keys or values of `heads` heads: [1] or [heads, 1, 1] of each name.
std::vector<io::TensorSpec> head_specs(const std::vector<std::string>& names, const scheme::QuantizationArgs& args,
                                       int64_t heads, io::Dtype scale_dtype);

}  // namespace swage::pipeline
