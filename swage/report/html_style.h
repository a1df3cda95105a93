// What the page of a run looks like, and the few lines of script that sort its tables.
#pragma once
#include <string_view>

namespace swage::pipeline::html {

// Colours are variables, so that a dark page is the same one with other values. Text has a contrast of at least 4.5 to
// 1 on its ground.
std::string_view style();
// Buttons in the heads of tables sort by their column; without script the table stays as it is.
std::string_view script();

}  // namespace swage::pipeline::html
