#include "swage/report/html_budget.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <vector>

#include "swage/report/html_parts.h"
#include "swage/scheme/module_place.h"

namespace swage::pipeline::html {
namespace {

// White for no bits to dark blue for `most`.
std::string shade(double bits, double most) {
  const double s = most > 0 ? std::clamp(bits / most, 0.0, 1.0) : 0;
  return format("rgb(%d,%d,%d)", int(240 - 205 * s), int(246 - 170 * s), int(252 - 110 * s));
}

// One square for each kind of unit and layer, by its bits.
std::string bits_map(const Json::Array& units) {
  struct Earlier {
    bool operator()(const std::string& a, const std::string& b) const { return scheme::runs_before(a, b); }
  };
  std::map<std::string, std::map<int64_t, const Json*>, Earlier> cells;
  double most = 0;
  int64_t layers = 0;
  for (const Json& unit : units) {
    const scheme::ModulePlace place = scheme::place_of(unit.at("name").as_string());
    cells[place.kind][std::max<int64_t>(place.layer, 0)] = &unit;
    most = std::max(most, unit.get_double("bits_per_weight", 0));
    layers = std::max(layers, place.layer + 1);
  }
  std::vector<MapRow> rows;
  for (const auto& [kind, of_layer] : cells) {
    MapRow row{kind, {}};
    for (const auto& [layer, unit] : of_layer) {
      row.cells.push_back({layer,
                           {shade(unit->get_double("bits_per_weight", 0), most),
                            unit->at("name").as_string() + ": " + unit->get_string("scheme", "")}});
    }
    rows.push_back(std::move(row));
  }
  std::vector<std::string> colors;
  for (int i = 0; i <= 8; ++i) colors.push_back(shade(i / 8.0, 1));
  return map_of_layers(rows, layers, "bits by kind of module and layer") +
         legend(colors, "0 bits", format("%.1f bits", most));
}

// Bits and the logarithm of the predicted loss, in pixels.
class Axes {
 public:
  void include(const Json& point) {
    const double bits = point.get_double("bits_per_weight", 0), loss = point.get_double("predicted_loss", 0);
    if (!(loss > 0)) return;
    low_ = std::min(low_, bits);
    high_ = std::max(high_, bits);
    least_ = std::min(least_, std::log10(loss));
    most_ = std::max(most_, std::log10(loss));
  }
  bool empty() const { return high_ <= low_ || most_ <= least_; }
  double low() const { return low_; }
  double high() const { return high_; }
  double least() const { return least_; }
  double most() const { return most_; }
  double x(double bits) const { return 60 + 560 * (bits - low_) / (high_ - low_); }
  double y(double loss) const { return 250 - 230 * (std::log10(loss) - least_) / (most_ - least_); }
  std::string dot(const Json& point, const char* color, const std::string& title) const {
    if (!(point.get_double("predicted_loss", 0) > 0)) return {};
    return format("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"><title>",
                  x(point.get_double("bits_per_weight", 0)), y(point.get_double("predicted_loss", 0)), color) +
           escaped(title) +
           format(": %.3f bits, loss %.3g</title></circle><text x=\"%.1f\" y=\"%.1f\">",
                  point.get_double("bits_per_weight", 0), point.get_double("predicted_loss", 0),
                  x(point.get_double("bits_per_weight", 0)) + 7, y(point.get_double("predicted_loss", 0)) - 5) +
           escaped(title.substr(0, title.find(' '))) + "</text>";
  }

 private:
  double low_ = 1e9, high_ = -1e9, least_ = 1e9, most_ = -1e9;
};

std::string frontier_chart(const Json& budget) {
  Axes axes;
  const Json::Array &frontier = budget.at("frontier").as_array(), &uniform = budget.at("uniform").as_array();
  for (const Json& point : frontier) axes.include(point);
  for (const Json& point : uniform) axes.include(point);
  if (axes.empty()) return {};
  std::string line;
  for (const Json& point : frontier) {
    const double loss = point.get_double("predicted_loss", 0);
    if (loss > 0) line += format("%.1f,%.1f ", axes.x(point.get_double("bits_per_weight", 0)), axes.y(loss));
  }
  std::string out =
      "<svg width=\"700\" height=\"310\" role=\"img\" aria-label=\"predicted loss over bits per weight\"><text "
      "x=\"330\" y=\"302\">bits per weight</text>"
      "<text x=\"0\" y=\"12\">predicted loss</text><polyline fill=\"none\" stroke=\"var(--bar)\" stroke-width=\"2\" "
      "points=\"" +
      line + "\"/>";
  for (double bits = std::ceil(axes.low()); bits <= axes.high(); ++bits)
    out += format("<text x=\"%.1f\" y=\"280\">%.0f</text>", axes.x(bits), bits);
  for (double power = std::ceil(axes.least()); power <= axes.most(); ++power)
    out += format("<text x=\"0\" y=\"%.1f\">1e%.0f</text>", axes.y(std::pow(10, power)) + 4, power);
  for (const Json& point : uniform)
    out += axes.dot(point, "var(--bad)", point.get_string("scheme", "") + " everywhere");
  return scrolling(out + axes.dot(budget, "var(--good)", "chosen") + "</svg>", "predicted loss over bits per weight") +
         "<p>Predicted loss over bits a weight, scales included: the best choice for each budget, the one taken "
         "(marked \"chosen\", green), and one scheme everywhere (marked with its name, red).</p>";
}

}  // namespace

std::string budget_part(const Json& budget) {
  return "<h2>Bits by layer</h2>" + bits_map(budget.at("units").as_array()) +
         format("<p>%.4f bits a weight; the darker a square, the more bits.</p>",
                budget.get_double("bits_per_weight", 0)) +
         frontier_chart(budget);
}

}  // namespace swage::pipeline::html
