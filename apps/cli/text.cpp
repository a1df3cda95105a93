#include "apps/cli/text.h"

#include <algorithm>

#include "swage/base/printable.h"

namespace swage::cli {

std::string two_columns(const std::vector<std::pair<std::string, std::string>>& rows) {
  size_t width = 0;
  for (const auto& [key, value] : rows) width = std::max(width, key.size());
  std::string out;
  for (const auto& [key, value] : rows)
    out += "  " + key + std::string(width - key.size() + 2, ' ') + printable(value) + "\n";
  return out;
}

std::vector<std::string> wrapped(std::string_view text, size_t width) {
  std::vector<std::string> lines(1);
  for (size_t at = 0; at < text.size();) {
    const size_t begin = std::min(text.find_first_not_of(" \n", at), text.size());
    const size_t end = std::min(text.find_first_of(" \n", begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    at = end;
    if (word.empty()) break;
    if (!lines.back().empty() && lines.back().size() + 1 + word.size() > width) lines.emplace_back();
    if (!lines.back().empty()) lines.back() += ' ';
    lines.back() += word;
  }
  return lines;
}

std::string shortened(const std::string& text, size_t width) {
  constexpr size_t kDots = 3;
  if (text.size() <= width || width <= kDots) return text.substr(0, width);
  const size_t front = (width - kDots) / 3, back = width - kDots - front;
  return text.substr(0, front) + "..." + text.substr(text.size() - back);
}

}  // namespace swage::cli
