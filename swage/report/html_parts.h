// Pieces that the parts of the HTML report share.
#pragma once
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace swage::pipeline::html {

// Text for between tags or inside a quoted attribute.
std::string escaped(std::string_view text);

// printf, for numbers and short texts.
template <class... Values>
std::string format(const char* pattern, Values... values) {
  char buffer[240];
  std::snprintf(buffer, sizeof buffer, pattern, values...);
  return buffer;
}

// One square of a map.
struct MapCell {
  std::string fill, title;
};
// A row of a map: what it is, and its cells by layer, 0 for what stands outside of the layers.
struct MapRow {
  std::string name;
  std::vector<std::pair<int64_t, MapCell>> cells;
};
// Squares of kinds by layers, in a box that scrolls by itself where the page is narrow. `label` says to those who do
// not see it what it shows.
std::string map_of_layers(const std::vector<MapRow>& rows, int64_t layers, const std::string& label);

// From the first colour to the last, in equal steps, between two words.
std::string legend(const std::vector<std::string>& colors, const std::string& least, const std::string& most);

struct Bar {
  std::string name, text;  // "W4A16 g64", "210 modules"
  double value = 0;
};
// A table of names, texts and bars in proportion to the values; `what` heads the names.
std::string bars(const std::vector<Bar>& values, const std::string& what, const std::string& label);

// A box for something that is wider than a narrow page.
std::string scrolling(const std::string& content, const std::string& label);

}  // namespace swage::pipeline::html
