// Tables and paragraphs for people.
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "swage/base/amounts.h"

namespace swage::cli {

// "  key   value" lines, values aligned.
std::string two_columns(const std::vector<std::pair<std::string, std::string>>& rows);
// The words of `text` in lines of at most `width` characters, where a single word allows it; never empty.
std::vector<std::string> wrapped(std::string_view text, size_t width);
// `text` cut to `width` characters, with "..." in its middle: both ends of a module's name matter.
std::string shortened(const std::string& text, size_t width);

}  // namespace swage::cli
