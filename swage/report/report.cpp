#include "swage/report/report.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <limits>

#include "swage/base/checksum.h"

namespace swage::pipeline {

namespace {

// What a stage waits for. Packing and writing is neither: what it writes has spans of its own.
Trace::Kind kind_of(std::string_view stage) {
  constexpr std::array<std::string_view, 8> kDisk = {
      "read weights", "read back", "save activations", "journal", "sync", "copy untouched", "read text", "check files"};
  constexpr std::array<std::string_view, 13> kCompute = {"embed",
                                                         "forward",
                                                         "float forward",
                                                         "gram",
                                                         "input scales",
                                                         "solve",
                                                         "prune",
                                                         "prune experts",
                                                         "correct targets",
                                                         "rescale",
                                                         "check perplexity",
                                                         "measure errors",
                                                         "measure divergences"};
  if (std::find(kDisk.begin(), kDisk.end(), stage) != kDisk.end()) return Trace::Kind::Disk;
  return std::find(kCompute.begin(), kCompute.end(), stage) != kCompute.end() ? Trace::Kind::Compute
                                                                              : Trace::Kind::Other;
}

}  // namespace

std::string data_label(const Json& data) {
  const std::string name = data.get_string("name", ""), file = std::filesystem::path(name).filename().string();
  const Json* files = data.find("files");
  const bool is_file =
      files != nullptr && !files->as_array().empty() && files->as_array()[0].get_string("name", "") == file;
  return is_file ? file : name;
}

StageClock::Guard::Guard(StageClock& clock, size_t index, std::string_view name, std::string_view module)
    : clock_(clock),
      index_(index),
      start_(std::chrono::steady_clock::now()),
      span_(clock.trace_, name, kind_of(name), clock.block_, module) {}

StageClock::Guard::~Guard() {
  if (clock_.settle_) clock_.settle_();
  clock_.seconds_[index_].second += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

StageClock::Guard StageClock::time(std::string_view stage, std::string_view module) {
  const auto found =
      std::find_if(seconds_.begin(), seconds_.end(), [&](const auto& entry) { return entry.first == stage; });
  const size_t index = size_t(found - seconds_.begin());
  if (found == seconds_.end()) seconds_.emplace_back(stage, 0.0);
  latest_ = stage;
  return Guard(*this, index, stage, module);
}

double StageClock::total_seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

Json StageClock::to_json() const {
  Json out = Json::object();
  for (const auto& [stage, seconds] : seconds_) out.set(stage, seconds);
  return out;
}

Json ExpertReport::to_json() const {
  Json out = Json::object(), retained = Json::array(), list = Json::array();
  for (const int64_t expert : kept) retained.push_back(expert);
  for (size_t e = 0; e < scores.size(); ++e) {
    Json expert = Json::object();
    expert.set("expert", int64_t(e));
    expert.set("score", scores[e]);
    expert.set("tokens", tokens[e]);
    expert.set("kept", std::binary_search(kept.begin(), kept.end(), int64_t(e)));
    list.push_back(std::move(expert));
  }
  out.set("retained", std::move(retained));
  out.set("lost_share", lost_share);
  out.set("experts", std::move(list));
  return out;
}

ExpertReport ExpertReport::from_json(const Json& json) {
  ExpertReport out;
  for (const Json& expert : json.at("retained").as_array()) out.kept.push_back(expert.as_int());
  out.lost_share = json.get_double("lost_share", 0);
  for (const Json& expert : json.at("experts").as_array()) {
    out.scores.push_back(expert.get_double("score", 0));
    out.tokens.push_back(expert.get_int("tokens", 0));
  }
  return out;
}

Json ModuleReport::to_json() const {
  Json out = Json::object();
  out.set("name", name);
  out.set("scheme", scheme);
  out.set("relative_error", relative_error);
  out.set("loss", loss);
  if (sparsity > 0) out.set("sparsity", sparsity);
  if (tokens > 0) out.set("tokens", tokens);
  if (target) {
    Json correction = Json::object();
    correction.set("ridge", target->ridge);
    correction.set("fitted", target->fitted);
    correction.set("held_out", target->held_out);
    out.set("target", std::move(correction));
  }
  if (experts) out.set("experts", experts->to_json());
  if (!warnings.empty()) {
    Json list = Json::array();
    for (const std::string& warning : warnings) list.push_back(warning);
    out.set("warnings", std::move(list));
  }
  return out;
}

Json ModuleReport::to_journal() const {
  Json out = to_json();
  out.set("dense", dense);
  out.set("fingerprint", hex64(fingerprint));
  return out;
}

ModuleReport ModuleReport::from_journal(const Json& json) {
  ModuleReport out;
  out.name = json.at("name").as_string();
  out.scheme = json.at("scheme").as_string();
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();  // what JSON cannot say
  out.relative_error = json.get_double("relative_error", kNone);
  out.loss = json.get_double("loss", kNone);
  out.tokens = json.get_int("tokens", 0);
  if (const Json* warnings = json.find("warnings")) {
    for (const Json& warning : warnings->as_array()) out.warnings.push_back(warning.as_string());
  }
  out.sparsity = json.get_double("sparsity", 0);
  out.dense = json.get_bool("dense", false);
  if (const Json* experts = json.find("experts")) out.experts = ExpertReport::from_json(*experts);
  if (const Json* correction = json.find("target")) {
    out.target = modifiers::TargetReport{correction->get_double("ridge", 0), correction->get_double("fitted", 0),
                                         correction->get_double("held_out", 0)};
  }
  const std::string& digits = json.at("fingerprint").as_string();
  std::from_chars(digits.data(), digits.data() + digits.size(), out.fingerprint, 16);
  return out;
}

}  // namespace swage::pipeline
