#include "swage/model/activation_quantization.h"

#include "swage/base/error.h"

namespace swage::model {
namespace {

using scheme::Dynamic, scheme::QuantizationArgs, scheme::Strategy;

at::Tensor load_scalar(const std::string& name, const checkpoint::WeightSource& weights) {
  const at::Tensor value = weights.load(name).cpu().reshape({-1}).contiguous();
  SWAGE_CHECK(value.numel() == 1, CorruptData, name, ": expected one value, found ", value.numel());
  return value;
}

}  // namespace

std::optional<ActivationQuantization> load_input_quantization(const std::string& module,
                                                              const checkpoint::WeightSource& weights) {
  const std::optional<QuantizationArgs> args = weights.input_quantization(module);
  if (!args) return {};
  check_activation_quantization(*args, module);
  ActivationQuantization out{.args = *args};
  if (args->dynamic == Dynamic::No) {
    out.scale = load_scalar(module + ".input_scale", weights);
    if (!args->symmetric) out.zero_point = load_scalar(module + ".input_zero_point", weights);
  }
  if (args->dynamic == Dynamic::Local) out.global_scale = load_scalar(module + ".input_global_scale", weights);
  return out;
}

std::optional<ActivationQuantization> load_head_quantization(const std::optional<QuantizationArgs>& args,
                                                             const std::string& scale, int64_t heads,
                                                             const checkpoint::WeightSource& weights) {
  if (!args) return {};
  check_activation_quantization(*args, scale);
  ActivationQuantization out{.args = *args};
  if (args->dynamic != Dynamic::No) return out;
  out.scale = weights.load(scale).cpu().reshape({-1}).contiguous();
  const int64_t expected = args->strategy == Strategy::AttnHead ? heads : 1;
  SWAGE_CHECK(out.scale.numel() == expected, CorruptData, scale, ": expected ", expected, " values, found ",
              out.scale.numel());
  return out;
}

}  // namespace swage::model
