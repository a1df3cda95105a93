// Schemes by the names that compressed-tensors and LLM Compressor use.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "swage/scheme/quantization.h"

namespace swage::scheme {

// The scheme called `name` in any case: W4A16, W4A16_ASYM, W8A16 (groups of 128), W8A8 = INT8, FP8_DYNAMIC. Its
// targets are {"Linear"} and its format is empty. Error(Unsupported) for the reference's other presets,
// Error(InvalidArgument) listing the known ones for anything else.
Scheme preset(std::string_view name);
// Names that preset() accepts, in upper case.
std::vector<std::string> preset_names();

// The scheme with `group_size` columns to a scale, or with one scale a row for -1. Error(InvalidArgument) unless it
// quantizes integer weights alone: kernels for quantized activations take one scale a row.
Scheme with_group_size(Scheme scheme, int64_t group_size);
// The scheme with or without zero points; Error(InvalidArgument) for zero points where with_group_size() refuses too.
Scheme with_symmetric(Scheme scheme, bool symmetric);

}  // namespace swage::scheme
