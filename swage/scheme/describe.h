// Schemes in a few words, for people.
#pragma once
#include <string>

#include "swage/scheme/quantization.h"

namespace swage::scheme {

// "W4A16 g64", "W4A16_ASYM g128", "W8A8", "W4AFP8 g128", "FP8A8 128x128", "NVFP4A4 g16", "MXFP8A16 g32".
std::string describe(const Scheme& scheme);

}  // namespace swage::scheme
