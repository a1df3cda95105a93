#include "swage/pipeline/report.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "swage/base/checksum.h"

namespace swage::pipeline {

StageClock::Guard::~Guard() {
  clock_.seconds_[index_].second += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

StageClock::Guard StageClock::time(const std::string& stage) {
  const auto found = std::find_if(seconds_.begin(), seconds_.end(), [&](const auto& entry) { return entry.first == stage; });
  const size_t index = size_t(found - seconds_.begin());
  if (found == seconds_.end()) seconds_.emplace_back(stage, 0.0);
  return Guard(*this, index);
}

double StageClock::total_seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

Json StageClock::to_json() const {
  Json out = Json::object();
  for (const auto& [stage, seconds] : seconds_) out.set(stage, seconds);
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
  if (!warnings.empty()) {
    Json list = Json::array();
    for (const std::string& warning : warnings) list.push_back(warning);
    out.set("warnings", std::move(list));
  }
  return out;
}

Json ModuleReport::to_journal() const {
  Json out = to_json();
  out.set("fingerprint", hex64(fingerprint));
  if (dense) out.set("dense", true);
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
  out.sparsity = json.get_double("sparsity", 0);
  out.dense = json.get_bool("dense", false);
  if (const Json* warnings = json.find("warnings")) {
    for (const Json& warning : warnings->as_array()) out.warnings.push_back(warning.as_string());
  }
  const std::string& digits = json.at("fingerprint").as_string();
  std::from_chars(digits.data(), digits.data() + digits.size(), out.fingerprint, 16);
  return out;
}

}  // namespace swage::pipeline
