// A quantized weight in the form of products on its codes.
#pragma once
#include <optional>

#include "swage/format/quantized_weight.h"
#include "swage/ops/packed_linear.h"

namespace swage::format {

// Nothing for codes that ops::PackedLinear does not hold: FP8, more than 8 bits, scales of blocks, groups of odd sizes.
// `bits` of an integer code. Error(Numerical) for scales that are not finite.
std::optional<ops::PackedLinear> packed_weight(const QuantizedWeight& weight, int bits);

}  // namespace swage::format
