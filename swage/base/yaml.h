// YAML in and out as Json values (the JSON subset of YAML: no anchors to objects of our own, no tags).
#pragma once
#include <string>
#include <string_view>

#include "swage/base/json.h"

namespace swage {

// One YAML document. Plain scalars become null, booleans, integers or numbers where YAML 1.2 says so; quoted ones stay
// strings. `source` names it in errors. Error(CorruptData) with line and column.
Json parse_yaml(std::string_view text, std::string_view source);
// Block style, two spaces a level, keys in order, ends with a newline.
std::string dump_yaml(const Json& value);

}  // namespace swage
