#include "swage/scheme/describe.h"

#include "swage/base/error.h"

namespace swage::scheme {
namespace {

// The family of the weights' numbers: "W4", "FP8", "MXFP4", "NVFP4".
std::string family(const QuantizationArgs& weights) {
  if (weights.type == NumberType::Int) return cat("W", weights.num_bits);
  const bool mx = weights.scale_dtype == "torch.uint8", nv = weights.strategy == Strategy::TensorGroup;
  return cat(mx ? "MX" : nv ? "NV" : "", "FP", weights.num_bits);
}

}  // namespace

std::string describe(const Scheme& scheme) {
  if (!scheme.weights) return "float";
  const QuantizationArgs& w = *scheme.weights;
  const auto& inputs = scheme.input_activations;
  const bool float_inputs = inputs && inputs->type == NumberType::Float && w.type == NumberType::Int;
  std::string text =
      cat(family(w), "A", float_inputs ? "FP" : "", inputs ? inputs->num_bits : 16, w.symmetric ? "" : "_ASYM");
  if (w.group_size && *w.group_size > 0) text += cat(" g", *w.group_size);
  if (w.block_structure) text += cat(" ", w.block_structure->first, "x", w.block_structure->second);
  return text;
}

}  // namespace swage::scheme
