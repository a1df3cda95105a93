#include "swage/report/html_parts.h"

#include <algorithm>
#include <cctype>
#include <vector>

namespace swage::pipeline::html {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') out += "&amp;";
    else if (c == '<') out += "&lt;";
    else if (c == '>') out += "&gt;";
    else if (c == '"') out += "&quot;";
    else out += c;
  }
  return out;
}

Place place_of(const std::string& name) {
  Place out;
  size_t begin = 0;
  std::vector<std::string> parts;
  while (begin <= name.size()) {
    const size_t end = std::min(name.find('.', begin), name.size());
    parts.push_back(name.substr(begin, end - begin));
    begin = end + 1;
  }
  for (const std::string& part : parts) {
    const bool number = !part.empty() && part.size() <= 9 && std::all_of(part.begin(), part.end(), [](unsigned char c) { return std::isdigit(c); });
    if (number && out.layer < 0) {
      out.layer = std::stoll(part);
      out.kind.clear();
    } else {
      out.kind += (out.kind.empty() ? "" : ".") + (number ? std::string("*") : part);
    }
  }
  return out;
}

}  // namespace swage::pipeline::html
