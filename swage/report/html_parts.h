// Pieces that the parts of the HTML report share.
#pragma once
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace swage::pipeline::html {

// Text for between tags or inside a quoted attribute.
std::string escaped(std::string_view text);

// printf, for numbers and short texts.
template <class... Values>
std::string format(const char* pattern, Values... values) {
  char buffer[160];
  std::snprintf(buffer, sizeof buffer, pattern, values...);
  return buffer;
}

// Where a module stands: its layer, and what it is there, with the numbers of experts left out.
struct Place {
  int64_t layer = -1;
  std::string kind;
};
Place place_of(const std::string& name);

}  // namespace swage::pipeline::html
