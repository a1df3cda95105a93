#include "swage/report/html_modules.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "swage/report/html_parts.h"
#include "swage/scheme/module_place.h"

namespace swage::pipeline::html {
namespace {

constexpr size_t kWorst = 5;

double error_of(const Json& module) {
  const double error = module.get_double("relative_error", std::nan(""));
  return std::isfinite(error) ? error : -1;
}

std::string percent_of(const Json& module) {
  return error_of(module) < 0 ? "not measured" : format("%.2f %%", 100 * error_of(module));
}

// White over yellow to red, for `share` from 0 to 1.
std::string heat(double share) {
  const double s = std::clamp(share, 0.0, 1.0);
  return format("rgb(%d,%d,%d)", int(255 - 45 * std::max(0.0, s - 0.5)), int(250 - 190 * s),
                int(235 - 190 * std::min(1.0, 1.6 * s)));
}

// One square for each kind of module and layer: of several experts the worst. Kinds stand in the order in which they
// run.
std::string error_map(const Json::Array& modules) {
  struct Worst {
    const Json* module = nullptr;
    double error = -2;
  };
  struct Earlier {
    bool operator()(const std::string& a, const std::string& b) const { return scheme::runs_before(a, b); }
  };
  std::map<std::string, std::map<int64_t, Worst>, Earlier> cells;
  double most = 0;
  int64_t layers = 0;
  for (const Json& module : modules) {
    const scheme::ModulePlace place = scheme::place_of(module.at("name").as_string());
    const double error = error_of(module);
    Worst& worst = cells[place.kind][std::max<int64_t>(place.layer, 0)];
    if (error > worst.error) worst = {&module, error};
    most = std::max(most, error);
    layers = std::max(layers, place.layer + 1);
  }
  std::vector<MapRow> rows;
  for (const auto& [kind, of_layer] : cells) {
    MapRow row{kind, {}};
    for (const auto& [layer, worst] : of_layer) {
      const Json& module = *worst.module;
      row.cells.push_back(
          {layer,
           {heat(most > 0 ? worst.error / most : 0),
            module.at("name").as_string() + ": " + percent_of(module) + ", " + module.get_string("scheme", "")}});
    }
    rows.push_back(std::move(row));
  }
  std::vector<std::string> colors;
  for (int i = 0; i <= 8; ++i) colors.push_back(heat(i / 8.0));
  return map_of_layers(rows, layers, "relative error by kind of module and layer") +
         legend(colors, "0 %", format("%.1f %%", 100 * most)) +
         "<p>Relative error of the outputs on the calibration tokens, or without data of the weights. Of several "
         "experts the worst is shown.</p>";
}

std::string worst_modules(const Json::Array& modules) {
  std::vector<const Json*> order;
  for (const Json& module : modules) {
    if (error_of(module) >= 0) order.push_back(&module);
  }
  if (order.empty()) return {};
  std::stable_sort(order.begin(), order.end(),
                   [](const Json* a, const Json* b) { return error_of(*a) > error_of(*b); });
  order.resize(std::min(order.size(), kWorst));
  std::string out = "<h2>Largest errors</h2><ol>";
  for (const Json* module : order) {
    out += "<li>" + escaped(module->at("name").as_string()) + ": " + percent_of(*module) + " (" +
           escaped(module->get_string("scheme", "")) + ")</li>";
  }
  return out + "</ol>";
}

std::string number_cell(double value, const std::string& text) {
  return format("<td class=\"n\" data-v=\"%.12f\">", value) + text + "</td>";
}

std::string module_table(const Json::Array& modules) {
  std::string out = "<table class=\"sort\"><thead><tr>";
  for (const char* head : {"module", "scheme"})
    out += format("<th scope=\"col\"><button type=\"button\">%s</button></th>", head);
  for (const char* head : {"error", "loss", "tokens"})
    out += format("<th scope=\"col\" class=\"n\"><button type=\"button\">%s</button></th>", head);
  out += "</tr></thead><tbody>";
  for (const Json& module : modules) {
    const double loss = module.get_double("loss", std::nan(""));
    const int64_t tokens = module.get_int("tokens", 0);
    out += "<tr><td>" + escaped(module.at("name").as_string()) + "</td><td>" +
           escaped(module.get_string("scheme", "")) + "</td>" + number_cell(error_of(module), percent_of(module)) +
           number_cell(std::isfinite(loss) ? loss : -1, std::isfinite(loss) ? format("%.3g", loss) : "") +
           number_cell(double(tokens), format("%lld", static_cast<long long>(tokens))) + "</tr>";
  }
  return "<details><summary>All modules</summary><p>Loss: tr(dW H dW^T), what the solver makes small; without data the "
         "sum of the squared differences. "
         "Tokens: those that the statistics came from.</p>" +
         scrolling(out + "</tbody></table>", "all modules") + "</details>";
}

std::string schemes(const Json::Array& modules) {
  std::map<std::string, int64_t> count;
  for (const Json& module : modules) ++count[module.get_string("scheme", "")];
  std::vector<Bar> out;
  for (const auto& [name, modules_of] : count)
    out.push_back({name, format("%lld", static_cast<long long>(modules_of)), double(modules_of)});
  return "<h2>Schemes</h2>" + bars(out, "scheme", "modules");
}

}  // namespace

std::string modules_part(const Json::Array& modules) {
  if (modules.empty()) return {};
  return "<h2>Errors by layer</h2>" + error_map(modules) + worst_modules(modules) + schemes(modules) +
         module_table(modules);
}

}  // namespace swage::pipeline::html
