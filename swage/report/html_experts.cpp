#include "swage/report/html_experts.h"

#include <algorithm>

#include "swage/report/html_parts.h"

namespace swage::pipeline::html {
namespace {

// One square for each expert, darker the higher its score in its layer; those that went are crossed out.
std::string row_of_experts(const Json::Array& experts, const std::string& layer) {
  constexpr int kSide = 14;
  double most = 0;
  for (const Json& expert : experts) most = std::max(most, expert.get_double("score", 0));
  std::string out = format("<svg width=\"%d\" height=\"%d\" role=\"img\" aria-label=\"experts of ",
                           int(experts.size()) * kSide, kSide) +
                    escaped(layer) + "\">";
  for (size_t e = 0; e < experts.size(); ++e) {
    const double score = experts[e].get_double("score", 0);
    const bool kept = experts[e].get_bool("kept", true);
    const int x = int(e) * kSide, shade = int(245 - 165 * (most > 0 ? score / most : 0));
    out += format("<g><rect class=\"cell\" x=\"%d\" y=\"1\" width=\"12\" height=\"12\" fill=\"rgb(%d,%d,245)\"/>", x,
                  shade, shade);
    if (!kept) out += format("<path d=\"M%d 2l10 10m0-10l-10 10\" stroke=\"#b3372f\" stroke-width=\"1.5\"/>", x + 1);
    out += format("<title>expert %d: score %.4g, %lld tokens, %s</title></g>", int(e), score,
                  static_cast<long long>(experts[e].get_int("tokens", 0)), kept ? "kept" : "dropped");
  }
  return out + "</svg>";
}

}  // namespace

std::string experts_part(const Json& pruning) {
  std::string table =
      "<table><thead><tr><th scope=\"col\">layer</th><th scope=\"col\">experts</th><th scope=\"col\">share of the "
      "experts' output that went</th></tr></thead><tbody>";
  for (const Json& layer : pruning.at("layers").as_array()) {
    const std::string name = layer.get_string("layer", "");
    table += "<tr><th scope=\"row\">" + escaped(name) + "</th><td>" +
             row_of_experts(layer.at("experts").as_array(), name) + "</td><td class=\"n\">" +
             format("%.1f %%", 100 * layer.get_double("lost_share", 0)) + "</td></tr>";
  }
  return "<h2>Experts</h2><p>" +
         format("%d of %d experts of each layer stay; the others are crossed out. The darker, the higher the score.",
                int(pruning.get_int("stay", 0)), int(pruning.get_int("experts", 0))) +
         "</p>" + scrolling(table + "</tbody></table>", "experts by layer");
}

}  // namespace swage::pipeline::html
