// The modules of a run on its page: errors by layer, the worst ones, schemes, and all of them in a table.
#pragma once
#include <string>

#include "swage/base/json.h"

namespace swage::pipeline::html {

std::string modules_part(const Json::Array& modules);

}  // namespace swage::pipeline::html
