#include "swage/report/html_parts.h"

#include <algorithm>

namespace swage::pipeline::html {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

std::string scrolling(const std::string& content, const std::string& label) {
  return "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"" + escaped(label) + "\">" + content +
         "</div>";
}

std::string map_of_layers(const std::vector<MapRow>& rows, int64_t layers, const std::string& label) {
  constexpr int kSide = 18, kLetter = 7, kTop = 36;
  size_t longest = 0;
  for (const MapRow& row : rows) longest = std::max(longest, row.name.size());
  const int left = int(std::min<size_t>(longest, 40)) * kLetter + 8, columns = int(std::max<int64_t>(layers, 1));
  std::string out = format("<svg width=\"%d\" height=\"%d\" role=\"img\" aria-label=\"",
                           left + std::max(columns * kSide, 40) + 10, kTop + int(rows.size()) * kSide + 4) +
                    escaped(label) + "\">";
  out += format("<text x=\"%d\" y=\"13\">layer</text>", left);
  for (int64_t layer = 0; layer < layers; layer += 5)
    out += format("<text x=\"%d\" y=\"30\">%d</text>", int(left + layer * kSide + 2), int(layer));
  for (size_t r = 0; r < rows.size(); ++r) {
    const int y = kTop + int(r) * kSide;
    out += format("<text x=\"0\" y=\"%d\">", y + 13) + escaped(rows[r].name) + "</text>";
    for (const auto& [layer, cell] : rows[r].cells) {
      out += format("<rect class=\"cell\" x=\"%d\" y=\"%d\" width=\"16\" height=\"16\" rx=\"2\" fill=\"",
                    int(left + layer * kSide), y);
      out += cell.fill + "\"><title>" + escaped(cell.title) + "</title></rect>";
    }
  }
  return scrolling(out + "</svg>", label);
}

std::string legend(const std::vector<std::string>& colors, const std::string& least, const std::string& most) {
  constexpr int kSide = 18;
  std::string out = "<div class=\"legend\"><span>" + escaped(least) + "</span>" +
                    format("<svg width=\"%d\" height=\"12\" aria-hidden=\"true\">", int(colors.size()) * kSide);
  for (size_t i = 0; i < colors.size(); ++i)
    out += format("<rect x=\"%d\" width=\"%d\" height=\"12\" fill=\"", int(i) * kSide, kSide) + colors[i] + "\"/>";
  return out + "</svg><span>" + escaped(most) + "</span></div>";
}

std::string bars(const std::vector<Bar>& values, const std::string& what, const std::string& label) {
  constexpr int kWidth = 160;
  double most = 0;
  for (const Bar& bar : values) most = std::max(most, bar.value);
  std::string out = "<table><thead><tr><th scope=\"col\">" + escaped(what) + "</th><th scope=\"col\" class=\"n\">" +
                    escaped(label) + "</th><td></td></tr></thead><tbody>";
  for (const Bar& bar : values) {
    out += "<tr><th scope=\"row\">" + escaped(bar.name) + "</th><td class=\"n\">" + escaped(bar.text) +
           format("</td><td><svg width=\"%d\" height=\"12\" aria-hidden=\"true\">", kWidth) +
           format("<rect class=\"bar\" height=\"12\" rx=\"2\" width=\"%.0f\"/></svg></td></tr>",
                  most > 0 ? kWidth * bar.value / most : 0);
  }
  return scrolling(out + "</tbody></table>", what + ", " + label);
}

}  // namespace swage::pipeline::html
