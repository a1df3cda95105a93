#include "swage/scheme/describe.h"

#include "swage/base/error.h"

namespace swage::scheme {

std::string describe(const Scheme& scheme) {
  if (!scheme.weights) return "float";
  const QuantizationArgs& w = *scheme.weights;
  std::string text = cat(w.type == NumberType::Float ? "FP" : "W", w.num_bits, "A",
                         scheme.input_activations ? scheme.input_activations->num_bits : 16, w.symmetric ? "" : "_ASYM");
  if (w.group_size && *w.group_size > 0) text += cat(" g", *w.group_size);
  return text;
}

}  // namespace swage::scheme
