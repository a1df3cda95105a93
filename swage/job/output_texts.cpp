#include "swage/job/output_texts.h"

#include <algorithm>
#include <ctime>

#include "swage/base/error.h"
#include "swage/report/html_report.h"
#include "swage/report/model_card.h"
#include "swage/report/size_parts.h"
#include "swage/scheme/consumers.h"

namespace swage::pipeline {
namespace {

constexpr uint64_t kDefaultSeed = 42;

// "2026-05-01 12:30 UTC"
std::string now_text() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &utc);
  return text;
}

// As a shell reads it.
std::string quoted(const std::string& word) {
  const bool plain = !word.empty() && word.find_first_not_of(
                                          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=,+@%") ==
                                          std::string::npos;
  if (plain) return word;
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

}  // namespace

namespace {

// A file by its name, a data set as it was asked for.
std::string data_name(const std::string& data) {
  std::error_code ignored;
  return std::filesystem::exists(data, ignored) ? std::filesystem::path(data).filename().string() : data;
}

}  // namespace

std::string command_again(const CompressJob& job, uint64_t seed) {
  std::string out = cat("swage compress ", quoted(job.source_id.empty() ? source_name(job.source) : job.source_id),
                        " -o OUT --recipe recipe.yaml");
  if (!job.data_file.empty()) {
    out += cat(" -d ", quoted(data_name(job.data_file)), " --num-calibration-samples ", job.num_calibration_samples,
               " --max-seq-length ", job.max_seq_length);
    if (!job.text_column.empty()) out += " --text-column " + quoted(job.text_column);
    if (!job.pack) out += " --no-pack";
    if (job.shuffle) out += " --shuffle";
    if (job.moe_routed) out += " --moe-routed";
  }
  if (job.model_free) out += " --model-free";
  if (seed != kDefaultSeed) out += cat(" --seed ", seed);
  return out;
}

void add_provenance(const CompressJob& job, uint64_t seed, const std::vector<io::TensorSpec>& tensors, Json& report) {
  report.set("date", now_text());
  report.set("command_line", command_again(job, seed));
  report.set("size_parts", size_parts(tensors));
  if (job.data_file.empty()) return;
  Json calibration = report.find("calibration") != nullptr ? report.at("calibration") : Json::object();
  if (calibration.find("data") == nullptr) calibration.set("file", data_name(job.data_file));
  report.set("calibration", std::move(calibration));
}

void add_warnings_of_readers(const Assignment& assignment, const std::string& model_type,
                             std::vector<std::string>& warnings) {
  const auto add = [&](const std::vector<std::string>& more) {
    for (const std::string& warning : more) {
      if (std::find(warnings.begin(), warnings.end(), warning) == warnings.end()) warnings.push_back(warning);
    }
  };
  for (size_t i = 0; i < assignment.schemes.size(); ++i) {
    std::vector<std::string> modules;
    for (const auto& [module, scheme] : assignment.scheme_of) {
      if (scheme == i) modules.push_back(module);
    }
    add(scheme::consumer_warnings(assignment.schemes[i]));
    add(scheme::family_warnings(model_type, assignment.schemes[i], modules));
  }
}

void write_texts(const CompressJob& job, const Json& report, checkpoint::Writer& writer) {
  writer.add_file("swage_report.json", report.dump(2) + "\n");
  writer.add_file("swage_report.html", html_report(report, job.saved_recipe));
  writer.add_file("README.md", model_card(report, card_source(job.source, job.source_id)));
}

}  // namespace swage::pipeline
