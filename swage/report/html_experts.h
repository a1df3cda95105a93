// The part of the HTML report about experts that were taken out.
#pragma once
#include <string>

#include "swage/base/json.h"

namespace swage::pipeline::html {

// `pruning` as report() of a run writes it under "expert_pruning".
std::string experts_part(const Json& pruning);

}  // namespace swage::pipeline::html
