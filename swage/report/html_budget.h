// The part of the HTML report on a bit budget: bits of each module, and predicted loss over bits.
#pragma once
#include <string>

#include "swage/base/json.h"

namespace swage::pipeline::html {

// `budget` as budget_report() makes it.
std::string budget_part(const Json& budget);

}  // namespace swage::pipeline::html
