#include "swage/report/html_report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "swage/base/error.h"
#include "swage/report/html_budget.h"
#include "swage/report/html_experts.h"
#include "swage/report/html_parts.h"

namespace swage::pipeline {
namespace {

using html::escaped, html::format, html::Place, html::place_of;

constexpr std::string_view kStyle =
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1b2330;background:#fff}"
    "h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}p{margin:.3rem 0;color:#566}"
    ".cards{display:flex;flex-wrap:wrap;gap:.8rem;margin:1rem 0}.card{border:1px solid #d8dee6;border-radius:.4rem;padding:.6rem .9rem}"
    ".card b{display:block;font-size:1.25rem}.card span{color:#566;font-size:.85rem}"
    "table{border-collapse:collapse;font-size:.85rem}td,th{padding:.15rem .7rem;text-align:left;border-bottom:1px solid #e6eaef}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}svg text{font:11px system-ui,sans-serif;fill:#566}"
    "pre{background:#f5f7f9;padding:.8rem;overflow:auto}details{margin:.5rem 0}summary{cursor:pointer}";

// "12 MiB", "3.4 GiB"
std::string size_text(double bytes) {
  const bool large = bytes >= double(1 << 30);
  return format(large ? "%.2f GiB" : "%.1f MiB", bytes / double(large ? 1 << 30 : 1 << 20));
}

std::string time_text(double seconds) {
  if (seconds < 60) return format("%.1f s", seconds);
  const int64_t minutes = int64_t(seconds / 60);
  return minutes < 60 ? format("%d min %02d s", int(minutes), int(seconds) % 60) : format("%d h %02d min", int(minutes / 60), int(minutes % 60));
}

struct Cell {
  double worst = 0;
  int64_t modules = 0;
  std::string worst_name, scheme;
};

// White over yellow to red, for `share` from 0 to 1.
std::string heat(double share) {
  const double s = std::clamp(share, 0.0, 1.0);
  return format("rgb(%d,%d,%d)", int(255 - 45 * std::max(0.0, s - 0.5)), int(250 - 190 * s), int(235 - 190 * std::min(1.0, 1.6 * s)));
}

// One square for each kind of module and layer, by its relative error.
std::string error_map(const Json::Array& modules) {
  std::map<std::string, std::map<int64_t, Cell>> cells;
  double most = 0;
  int64_t layers = 0;
  for (const Json& module : modules) {
    const std::string& name = module.at("name").as_string();
    const Place place = place_of(name);
    const double error = module.get_double("relative_error", 0);
    Cell& cell = cells[place.kind][std::max<int64_t>(place.layer, 0)];
    ++cell.modules;
    if (cell.modules == 1 || error > cell.worst) cell = {error, cell.modules, name, module.get_string("scheme", "")};
    most = std::max(most, error);
    layers = std::max(layers, place.layer + 1);
  }
  constexpr int kSide = 18, kLeft = 240, kTop = 20;
  std::string out = format("<svg width=\"%d\" height=\"%d\" role=\"img\">", int(kLeft + std::max<int64_t>(layers, 1) * kSide + 10), int(kTop + int(cells.size()) * kSide + 4));
  for (int64_t layer = 0; layer < layers; layer += 5) out += format("<text x=\"%d\" y=\"14\">%d</text>", int(kLeft + layer * kSide + 2), int(layer));
  int row = 0;
  for (const auto& [kind, of_layer] : cells) {
    const int y = kTop + row++ * kSide;
    out += format("<text x=\"0\" y=\"%d\">", y + 13) + escaped(kind) + "</text>";
    for (const auto& [layer, cell] : of_layer) {
      out += format("<rect x=\"%d\" y=\"%d\" width=\"16\" height=\"16\" rx=\"2\" stroke=\"#c9d1da\" stroke-width=\".5\" fill=\"", int(kLeft + layer * kSide), y);
      out += heat(most > 0 ? cell.worst / most : 0) + "\"><title>" + escaped(cell.worst_name) + format(": %.2f %%, ", 100 * cell.worst) + escaped(cell.scheme) + "</title></rect>";
    }
  }
  return out + "</svg><p>Relative error of the outputs on the calibration tokens; the darkest square is " + format("%.1f %%", 100 * most) +
         ". Of several experts the worst is shown.</p>";
}

// What share of the weights each scheme has, and the seconds of each stage: names with bars.
std::string bars(const std::vector<std::pair<std::string, double>>& values, const std::string& unit) {
  double most = 0;
  for (const auto& [name, value] : values) most = std::max(most, value);
  std::string out = "<table>";
  for (const auto& [name, value] : values) {
    out += "<tr><td>" + escaped(name) + "</td><td class=\"n\">" + format("%.1f ", value) + unit + "</td><td><svg width=\"320\" height=\"12\"><rect height=\"12\" rx=\"2\" fill=\"#4c7dbd\" width=\"" +
           format("%.0f", most > 0 ? 320 * value / most : 0) + "\"/></svg></td></tr>";
  }
  return out + "</table>";
}

std::string card(const std::string& value, const std::string& what) { return "<div class=\"card\"><b>" + escaped(value) + "</b><span>" + escaped(what) + "</span></div>"; }

// "512 of 512 rows", "calibration: 2048 tokens each, 120 documents of calibration.jsonl (sha256 0123456789ab)"
std::string calibration_card(const Json& calibration) {
  if (calibration.find("rows") == nullptr) return "";
  const int64_t rows = calibration.get_int("rows", 0);
  std::string what = cat("calibration: ", calibration.get_int("tokens_per_row", 0), " tokens each, ", calibration.get_int("documents_used", 0), " documents");
  if (const Json* data = calibration.find("data")) {
    what += " of " + data->get_string("name", "");
    const Json* files = data->find("files");
    if (files != nullptr && !files->as_array().empty()) what += " (sha256 " + files->as_array()[0].get_string("sha256", "").substr(0, 12) + ")";
  }
  return card(cat(rows, " of ", calibration.get_int("rows_wanted", rows), " rows"), what);
}

std::string cards(const Json& report) {
  std::string out = "<div class=\"cards\">";
  if (const Json* plan = report.find("plan")) {
    const double before = plan->get_double("source_bytes", 0), after = plan->get_double("output_bytes", 0);
    if (before > 0 && after > 0) out += card(size_text(after), "size, of " + size_text(before));
    if (plan->get_double("bits_per_weight", 0) > 0) out += card(format("%.2f", plan->get_double("bits_per_weight", 0)), "bits per quantized weight, scales included");
  }
  if (const Json* check = report.find("check")) {
    const double before = check->get_double("source_perplexity", 0), after = check->get_double("output_perplexity", 0);
    if (before > 0 && after > 0) out += card(format("%.3f", after), format("perplexity on %d windows, before: %.3f", int(check->get_int("windows", 0)), before));
  }
  if (const Json* calibration = report.find("calibration")) out += calibration_card(*calibration);
  if (report.find("seconds") != nullptr) out += card(time_text(report.get_double("seconds", 0)), format("time on %d threads", int(report.get_int("threads", 0))));
  if (report.find("peak_rss_bytes") != nullptr) out += card(size_text(report.get_double("peak_rss_bytes", 0)), "peak memory");
  return out + "</div>";
}

std::string module_table(const Json::Array& modules) {
  std::string out = "<details><summary>All modules</summary><table><tr><th>module</th><th>scheme</th><th>error</th><th>loss</th><th>tokens</th></tr>";
  for (const Json& module : modules) {
    out += "<tr><td>" + escaped(module.at("name").as_string()) + "</td><td>" + escaped(module.get_string("scheme", "")) + "</td><td class=\"n\">" +
           format("%.2f %%", 100 * module.get_double("relative_error", std::nan(""))) + "</td><td class=\"n\">" + format("%.3g", module.get_double("loss", std::nan(""))) +
           "</td><td class=\"n\">" + format("%lld", static_cast<long long>(module.get_int("tokens", 0))) + "</td></tr>";
  }
  return out + "</table></details>";
}

std::string modules_part(const Json::Array& modules) {
  if (modules.empty()) return {};
  std::map<std::string, double> of_scheme;
  for (const Json& module : modules) of_scheme[module.get_string("scheme", "")] += 1;
  std::string out = "<h2>Errors by layer</h2>" + error_map(modules);
  out += "<h2>Schemes</h2>" + bars({of_scheme.begin(), of_scheme.end()}, "modules");
  return out + module_table(modules);
}

}  // namespace

std::string html_report(const Json& report, std::string_view recipe_yaml) {
  const std::string source = report.get_string("source", "");
  std::string out = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>" + escaped(source) + " compressed</title><style>" + std::string(kStyle) +
                    "</style></head><body>\n<h1>" + escaped(source) + "</h1><p>" + escaped(report.get_string("modifier", "")) + ", swage " +
                    escaped(report.get_string("swage", "")) + "</p>\n" + cards(report);
  if (const Json* warnings = report.find("warnings"); warnings != nullptr && !warnings->as_array().empty()) {
    out += "<h2>Warnings</h2><ul>";
    for (const Json& warning : warnings->as_array()) out += "<li>" + escaped(warning.as_string()) + "</li>";
    out += "</ul>";
  }
  if (const Json* budget = report.find("bit_budget")) out += html::budget_part(*budget);
  if (const Json* experts = report.find("expert_pruning")) out += html::experts_part(*experts);
  if (const Json* modules = report.find("modules")) out += modules_part(modules->as_array());
  if (const Json* stages = report.find("stage_seconds")) {
    std::vector<std::pair<std::string, double>> seconds;
    for (const auto& [stage, value] : stages->as_object()) seconds.emplace_back(stage, value.as_double());
    out += "<h2>Time by stage</h2>" + bars(seconds, "s");
  }
  return out + "<h2>Recipe</h2><pre>" + escaped(recipe_yaml) + "</pre>\n</body></html>\n";
}

}  // namespace swage::pipeline
