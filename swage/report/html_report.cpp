#include "swage/report/html_report.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "swage/base/amounts.h"
#include "swage/base/error.h"
#include "swage/report/html_budget.h"
#include "swage/report/html_experts.h"
#include "swage/report/html_modules.h"
#include "swage/report/html_parts.h"
#include "swage/report/html_style.h"
#include "swage/report/report.h"

namespace swage::pipeline {
namespace {

using html::Bar, html::bars, html::escaped, html::format;

std::string card(const std::string& value, const std::string& what) {
  return "<div class=\"card\"><b>" + escaped(value) + "</b><span>" + escaped(what) + "</span></div>";
}

// "512 of 512 rows", "calibration: 2048 tokens each, 120 documents of calibration.jsonl (sha256 0123456789ab)"
std::string calibration_card(const Json& calibration) {
  if (calibration.find("rows") == nullptr) return "";
  const int64_t rows = calibration.get_int("rows", 0);
  std::string what = cat("calibration: ", calibration.get_int("tokens_per_row", 0), " tokens each, ",
                         calibration.get_int("documents_used", 0), " documents");
  if (const Json* data = calibration.find("data")) {
    what += " of " + data_label(*data);
    const Json* files = data->find("files");
    if (files != nullptr && !files->as_array().empty())
      what += " (sha256 " + files->as_array()[0].get_string("sha256", "").substr(0, 12) + ")";
  }
  return card(cat(rows, " of ", calibration.get_int("rows_wanted", rows), " rows"), what);
}

std::string perplexity_text(double value) { return number_text(value, value < 1000 ? 3 : 0); }

std::string perplexity_card(const Json& check) {
  const double before = check.get_double("source_perplexity", 0), after = check.get_double("output_perplexity", 0);
  if (!(before > 0) || !(after > 0)) return {};
  const char* of = check.get_bool("held_out", false) ? "held-out tokens" : "tokens it was calibrated on";
  return card(perplexity_text(after), format("perplexity on %lld %s; before: %s, change %+.1f %%",
                                             static_cast<long long>(check.get_int("tokens", 0)), of,
                                             perplexity_text(before).c_str(), 100 * (after / before - 1)));
}

std::string cards(const Json& report) {
  std::string out = "<div class=\"cards\">";
  if (const Json* plan = report.find("plan")) {
    const int64_t before = plan->get_int("source_bytes", 0), after = plan->get_int("output_bytes", 0);
    if (before > 0 && after > 0) out += card(bytes_text(after), "size, of " + bytes_text(before));
    if (plan->get_double("bits_per_weight", 0) > 0)
      out += card(number_text(plan->get_double("bits_per_weight", 0), 2), "bits per quantized weight, scales included");
  }
  if (const Json* check = report.find("check")) out += perplexity_card(*check);
  if (const Json* calibration = report.find("calibration")) out += calibration_card(*calibration);
  if (report.find("seconds") != nullptr)
    out += card(seconds_text(report.get_double("seconds", 0)),
                format("time on %d threads", int(report.get_int("threads", 0))));
  if (report.find("peak_rss_bytes") != nullptr)
    out += card(bytes_text(report.get_int("peak_rss_bytes", 0)), "peak memory");
  return out + "</div>";
}

using Facts = std::vector<std::pair<std::string, std::string>>;

void add_calibration(const Json& calibration, Facts& facts) {
  const int64_t rows = calibration.get_int("rows", 0), row_tokens = calibration.get_int("tokens_per_row", 0);
  const Json* data = calibration.find("data");
  const std::string file = data != nullptr ? data_label(*data) : calibration.get_string("file", "");
  if (rows > 0) {
    facts.emplace_back("calibrated on",
                       cat(rows, " rows of ", row_tokens, " tokens (", rows * row_tokens, ") from ",
                           calibration.get_int("documents_used", 0), " documents", file.empty() ? "" : " of " + file));
  } else if (!file.empty()) {
    facts.emplace_back("text", cat(file, ", for the perplexity alone"));
  }
}

std::string facts_part(const Json& report) {
  Facts facts;
  if (!report.get_string("date", "").empty()) facts.emplace_back("finished", report.get_string("date", ""));
  const std::string type = report.get_string("model_type", "");
  if (!type.empty()) facts.emplace_back("model", cat(report.get_string("source", ""), " (", type, ")"));
  if (report.get_bool("model_free", false))
    facts.emplace_back("model-free", "from the shards alone: no model was run, no perplexity was measured");
  if (const Json* calibration = report.find("calibration")) add_calibration(*calibration, facts);
  if (report.find("seed") != nullptr) facts.emplace_back("seed", cat(report.get_int("seed", 0)));
  facts.emplace_back("program",
                     cat("swage ", report.get_string("swage", ""), ", ", report.get_string("device", "cpu")));
  std::string out = "<dl>";
  for (const auto& [name, value] : facts) out += "<dt>" + escaped(name) + "</dt><dd>" + escaped(value) + "</dd>";
  out += "</dl>";
  const std::string command = report.get_string("command_line", "");
  if (!command.empty()) out += "<p>The same again:</p><pre class=\"wrap\">" + escaped(command) + "</pre>";
  return out + "<p>To use it:</p><pre class=\"wrap\">vllm serve .\nAutoModelForCausalLM.from_pretrained(\".\")</pre>";
}

std::string sizes_part(const Json& parts) {
  std::vector<Bar> values;
  int64_t all = 0;
  for (const Json& part : parts.as_array()) all += part.get_int("bytes", 0);
  for (const Json& part : parts.as_array()) {
    const int64_t bytes = part.get_int("bytes", 0);
    values.push_back({part.get_string("part", ""),
                      bytes_text(bytes) + format(", %.0f %%", all > 0 ? 100.0 * double(bytes) / double(all) : 0),
                      double(bytes)});
  }
  return "<h2>Size by part</h2>" + bars(values, "part", "size");
}

std::string answers_part(const Json& answers) {
  const auto quoted = [&](const char* head, const char* key) {
    return std::string("<dt>") + head + "</dt><dd>" + escaped(answers.get_string(key, "")) + "</dd>";
  };
  return "<h2>One prompt, before and after</h2><dl>" + quoted("prompt", "prompt") + quoted("before", "source") +
         quoted("after", "output") + "</dl>" +
         format("<p>The first %d tokens, always the most likely one.</p>", int(answers.get_int("tokens", 0)));
}

std::string warnings_part(const Json::Array& warnings) {
  if (warnings.empty()) return {};
  std::string out = "<h2>Warnings</h2><ul>";
  for (const Json& warning : warnings) out += "<li>" + escaped(warning.as_string()) + "</li>";
  return out + "</ul>";
}

std::string stages_part(const Json& stages) {
  std::vector<Bar> seconds;
  for (const auto& [stage, value] : stages.as_object())
    seconds.push_back({stage, seconds_text(value.as_double()), value.as_double()});
  return "<h2>Time by stage</h2>" + bars(seconds, "stage", "time");
}

}  // namespace

std::string html_report(const Json& report, std::string_view recipe_yaml) {
  const std::string source = report.get_string("source", "");
  std::string out =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\"><title>" +
      escaped(source) + " compressed</title><style>" + std::string(html::style()) +
      "</style></head><body><main>\n<h1>" + escaped(source) + "</h1><p>" + escaped(report.get_string("modifier", "")) +
      ", swage " + escaped(report.get_string("swage", "")) + "</p>\n" + cards(report) + facts_part(report);
  if (const Json* warnings = report.find("warnings")) out += warnings_part(warnings->as_array());
  if (const Json* parts = report.find("size_parts")) out += sizes_part(*parts);
  if (const Json* answers = report.find("answers")) out += answers_part(*answers);
  if (const Json* budget = report.find("bit_budget")) out += html::budget_part(*budget);
  if (const Json* experts = report.find("expert_pruning")) out += html::experts_part(*experts);
  if (const Json* modules = report.find("modules")) out += html::modules_part(modules->as_array());
  if (const Json* stages = report.find("stage_seconds")) out += stages_part(*stages);
  return out + "<h2>Recipe</h2><pre>" + escaped(recipe_yaml) + "</pre>\n</main><script>" + std::string(html::script()) +
         "</script></body></html>\n";
}

}  // namespace swage::pipeline
