#include "swage/report/model_card.h"

#include <set>
#include <sstream>
#include <vector>

#include "swage/base/amounts.h"
#include "swage/base/error.h"
#include "swage/base/file.h"
#include "swage/report/report.h"

namespace swage::pipeline {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMostCardBytes = uint64_t{16} << 20;
constexpr size_t kMostHeadLines = 400;  // of a card's head that are looked at

// Lines of the head of a card that begin with "license", with the lines that are indented below them.
std::string licence_lines(const fs::path& card) {
  std::istringstream file(read_regular_file(card, kMostCardBytes));
  std::string line, out;
  if (!std::getline(file, line) || line.substr(0, 3) != "---") return out;
  bool inside = false;
  for (size_t i = 0; i < kMostHeadLines && std::getline(file, line); ++i) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.starts_with("---")) return out;
    const bool goes_on = line.starts_with(" ") || line.starts_with("- ");
    inside = line.starts_with("license") || (inside && goes_on);
    if (inside) out += line + "\n";
  }
  return {};  // no end: it was no head
}

// A scalar of YAML in double quotes.
std::string yaml_text(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) out += c;
  }
  return out + "\"";
}

std::set<std::string> schemes_of(const Json& report) {
  std::set<std::string> out;
  if (const Json* modules = report.find("modules")) {
    for (const Json& module : modules->as_array()) out.insert(module.get_string("scheme", ""));
  }
  return out;
}

std::string joined(const std::set<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

std::string head(const CardSource& source) {
  std::string out = "---\nbase_model: " + yaml_text(source.name) +
                    "\nbase_model_relation: quantized\nlibrary_name: transformers\npipeline_tag: text-generation\n";
  return out + source.licence + "tags:\n- compressed-tensors\n- swage\n---\n";
}

using Rows = std::vector<std::pair<std::string, std::string>>;

void add_perplexity(const Json& check, Rows& rows) {
  const double before = check.get_double("source_perplexity", 0), after = check.get_double("output_perplexity", 0);
  if (!(before > 0) || !(after > 0)) return;
  rows.emplace_back("perplexity",
                    cat(number_text(before, 3), " before, ", number_text(after, 3), " after (",
                        number_text(100 * (after / before - 1), 1), " %), on ", check.get_int("tokens", 0),
                        check.get_bool("held_out", false) ? " held-out tokens" : " tokens it was calibrated on"));
}

Rows facts(const Json& report) {
  Rows rows = {{"method", report.get_string("modifier", "")}, {"scheme", joined(schemes_of(report))}};
  if (const Json* plan = report.find("plan")) {
    rows.emplace_back("size", cat(bytes_text(plan->get_int("output_bytes", 0)), ", of ",
                                  bytes_text(plan->get_int("source_bytes", 0))));
    if (plan->get_double("bits_per_weight", 0) > 0)
      rows.emplace_back(
          "bits", number_text(plan->get_double("bits_per_weight", 0), 2) + " per quantized weight, scales included");
  }
  if (const Json* calibration = report.find("calibration");
      calibration != nullptr && calibration->get_int("rows", 0) > 0) {
    const int64_t count = calibration->get_int("rows", 0), tokens = calibration->get_int("tokens_per_row", 0);
    const Json* data = calibration->find("data");
    rows.emplace_back("calibration", cat(data != nullptr ? data_label(*data) : calibration->get_string("file", "text"),
                                         ": ", count, " rows of ", tokens, " tokens (", count * tokens, "), ",
                                         calibration->get_int("documents_used", 0), " documents"));
  } else {
    rows.emplace_back("calibration", "none");
  }
  if (const Json* check = report.find("check")) add_perplexity(*check, rows);
  if (report.get_bool("model_free", false))
    rows.emplace_back("perplexity", "not measured: made from the shards alone, no model was run");
  return rows;
}

std::string answers(const Json& report) {
  const Json* answers = report.find("answers");
  if (answers == nullptr) return {};
  const auto block = [&](const char* what, const char* key) {
    return cat(what, ":\n\n```text\n", answers->get_string(key, ""), "\n```\n\n");
  };
  return cat("## One prompt, before and after\n\n", block("Prompt", "prompt"), block("Before", "source"),
             block("After", "output"));
}

}  // namespace

std::string source_name(const fs::path& folder) {
  const fs::path path = fs::absolute(folder).lexically_normal();
  std::vector<std::string> parts;
  for (const fs::path& part : path) {
    if (!part.empty()) parts.push_back(part.string());
  }
  const size_t n = parts.size();
  if (n >= 3 && parts[n - 2] == "snapshots" &&
      parts[n - 3].starts_with("models--")) {  // models--org--name/snapshots/REVISION
    std::string id = parts[n - 3].substr(8);
    if (const size_t cut = id.find("--"); cut != std::string::npos) id.replace(cut, 2, "/");
    return id;
  }
  return n == 0 ? std::string() : parts.back();
}

CardSource card_source(const fs::path& folder, const std::string& id) {
  CardSource out;
  out.name = id.empty() ? source_name(folder) : id.substr(0, id.find('@'));
  out.is_hub_id = out.name.find('/') != std::string::npos;
  out.has_card = fs::is_regular_file(folder / "README.md");
  if (!out.has_card) return out;
  try {
    out.licence = licence_lines(folder / "README.md");
  } catch (const Error&) {  // a card that cannot be read says nothing; the weights are what matters
  }
  return out;
}

std::string model_card(const Json& report, const CardSource& source) {
  const std::string schemes = joined(schemes_of(report)), name = source.name.substr(source.name.rfind('/') + 1);
  std::string out = head(source) + cat("\n# ", name, schemes.empty() ? "" : ", ", schemes, "\n\n");
  const std::string link =
      source.is_hub_id ? cat("[", source.name, "](https://huggingface.co/", source.name, ")") : source.name;
  out += cat(link, ", compressed by swage ", report.get_string("swage", ""), ". ");
  out += source.has_card || source.is_hub_id ? "What the model is, its uses and limits are told by its own card.\n\n"
                                             : "\n\n";
  out += "| | |\n| --- | --- |\n";
  for (const auto& [name, value] : facts(report)) out += cat("| ", name, " | ", value, " |\n");
  out +=
      "\n## Use\n\n```bash\nvllm serve .   # in this "
      "folder\n```\n\n```python\nAutoModelForCausalLM.from_pretrained(\".\")   # transformers with "
      "compressed-tensors\n```\n\n";
  if (const Json* warnings = report.find("warnings"); warnings != nullptr && !warnings->as_array().empty()) {
    out += "## Known of this run\n\n";
    for (const Json& warning : warnings->as_array()) out += cat("- ", warning.as_string(), "\n");
    out += "\n";
  }
  out += answers(report) +
         cat("## Made with\n\n```bash\n", report.get_string("command_line", ""),
             "\n```\n\n`recipe.yaml` says what was done, `swage_report.json` and `swage_report.html` how it went.\n");
  if (source.licence.empty()) out += "\nThe licence is that of the source.\n";
  return out;
}

}  // namespace swage::pipeline
