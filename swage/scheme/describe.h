// Schemes in a few words, for people.
#pragma once
#include <string>

#include "swage/scheme/quantization.h"

namespace swage::scheme {

// "W4A16 g64", "W4A16_ASYM g128", "W8A8", "FP8A8".
std::string describe(const Scheme& scheme);

}  // namespace swage::scheme
