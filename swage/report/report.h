// What a run did: seconds by stage, and every module's error. Written as swage_report.json beside the output.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "swage/base/json.h"
#include "swage/base/trace.h"
#include "swage/modifiers/modifier.h"

namespace swage::pipeline {

// Adds up wall seconds by stage, in the order the stages first ran, and tells the trace, if there is one, of each time.
class StageClock {
 public:
  explicit StageClock(Trace* trace = nullptr) : trace_(trace) {}
  // Counts the time until the returned guard dies for `stage`, which must be a literal. Block and modules are for the
  // trace.
  class Guard {
   public:
    Guard(StageClock& clock, size_t index, std::string_view name, std::string_view module);
    ~Guard();
    Guard(const Guard&) = delete;

   private:
    StageClock& clock_;
    size_t index_;
    std::chrono::steady_clock::time_point start_;
    TraceSpan span_;
  };
  Guard time(std::string_view stage, std::string_view module = {});
  // The block that is worked on from now on, -1: none. Only for the trace.
  void enter_block(int64_t block) { block_ = block; }
  int64_t block() const { return block_; }
  Trace* trace() const { return trace_; }
  // `wait` returns when all work queued so far is done: then stages count what they queue on a GPU. Must not throw.
  void settle_by(std::function<void()> wait) { settle_ = std::move(wait); }
  // The stage begun last.
  const std::string& latest() const { return latest_; }
  double total_seconds() const;  // since construction
  Json to_json() const;

 private:
  Trace* trace_;
  int64_t block_ = -1;
  std::function<void()> settle_;
  std::string latest_;
  std::vector<std::pair<std::string, double>> seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// What a report's "data" is called where people read it: a file by its name alone, a data set as it was asked for.
std::string data_label(const Json& data);

// What was found of the experts of a mixture, by their numbers in the source.
struct ExpertReport {
  std::vector<double> scores;
  std::vector<int64_t> tokens;  // routed to each
  std::vector<int64_t> kept;    // ascending
  double lost_share = 0;        // of the sum of all weighted norms, that of the experts that went

  Json to_json() const;
  static ExpertReport from_json(const Json& json);
};

struct ModuleReport {
  std::string name;
  std::string scheme;
  double loss = 0;
  double relative_error = 0;
  int64_t tokens = 0;  // that its statistics came from
  std::vector<std::string> warnings;
  std::optional<modifiers::TargetReport> target;
  double sparsity = 0;  // share of zeros, of a module that was pruned
  std::optional<ExpertReport> experts =
      {};              // of a router, whose mixture was pruned: no module that was compressed itself
  bool dense = false;  // stored as a plain weight
  uint64_t fingerprint =
      0;  // of codes, scales and zero points as solved, or of the plain weight; checked against the files

  Json to_json() const;
  // The same and the fingerprint: all of it, for a later process.
  Json to_journal() const;
  static ModuleReport from_journal(const Json& json);
};

}  // namespace swage::pipeline
