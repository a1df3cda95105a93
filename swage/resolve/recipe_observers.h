// Which observers a recipe's fields put in place of those of a scheme.
#pragma once
#include <string_view>

#include "swage/modifiers/config.h"
#include "swage/scheme/quantization.h"

namespace swage::pipeline {

// weight_observer, input_observer and output_observer, or `observer` with the keys weights, input and output.
// Error(InvalidArgument) naming `modifier` and the field for both at once, for other keys, for an observer of
// activations that no observer can watch, and for unknown observers and settings, those that the scheme itself names
// included.
void choose_observers(const modifiers::QuantizationFields& fields, std::string_view modifier, scheme::Scheme& scheme);

}  // namespace swage::pipeline
