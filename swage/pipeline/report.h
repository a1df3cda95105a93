// What a run did: seconds by stage, and every module's error. Written as swage_report.json beside the output.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "swage/base/json.h"

namespace swage::pipeline {

// Adds up wall seconds by stage, in the order the stages first ran.
class StageClock {
 public:
  // Counts the time until the returned guard dies for `stage`.
  class Guard {
   public:
    Guard(StageClock& clock, size_t index) : clock_(clock), index_(index), start_(std::chrono::steady_clock::now()) {}
    ~Guard();
    Guard(const Guard&) = delete;

   private:
    StageClock& clock_;
    size_t index_;
    std::chrono::steady_clock::time_point start_;
  };
  Guard time(const std::string& stage);
  double total_seconds() const;  // since construction
  Json to_json() const;

 private:
  std::vector<std::pair<std::string, double>> seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

struct ModuleReport {
  std::string name;
  std::string scheme;
  double loss = 0;
  double relative_error = 0;
  int64_t tokens = 0;               // that its statistics came from
  std::vector<std::string> warnings;
  double sparsity = 0;              // share of zeros, of a module that was pruned
  bool dense = false;               // stored as a plain weight
  uint64_t fingerprint = 0;         // of codes, scales and zero points as solved, or of the plain weight; checked against the files

  Json to_json() const;
  // The same and the fingerprint: all of it, for a later process.
  Json to_journal() const;
  static ModuleReport from_journal(const Json& json);
};

}  // namespace swage::pipeline
