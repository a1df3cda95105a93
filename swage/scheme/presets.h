// Schemes by the names that compressed-tensors and LLM Compressor use.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "swage/scheme/quantization.h"

namespace swage::scheme {

// The scheme called `name` in any case, one of compressed-tensors 0.20: WbA16 (b = 2..8), WbA8 (b = 2..7), WbA4 (b
// = 2..4), W4A16_ASYM and W4AFP8, all in groups of 128; W8A8 = INT8, FP8, FP8_DYNAMIC, FP8_BLOCK, NVFP4, MXFP4, MXFP6,
// MXFP8 and their weight-only forms; UNQUANTIZED. Its targets are {"Linear"} and its format is empty.
// Error(InvalidArgument) listing the known ones for anything else.
Scheme preset(std::string_view name);
// Names that preset() accepts, in upper case.
std::vector<std::string> preset_names();

// The scheme with `group_size` columns to a scale, or with one scale a row for -1. Error(InvalidArgument) unless it
// quantizes integer weights alone or in groups: kernels for W8A8 take one scale a row, float formats fix their groups.
Scheme with_group_size(Scheme scheme, int64_t group_size);
// The scheme with or without zero points; Error(InvalidArgument) for zero points unless it quantizes integer
// weights alone.
Scheme with_symmetric(Scheme scheme, bool symmetric);

}  // namespace swage::scheme
