// What a run will do, known from shapes alone: sizes, memory, work. Printed before anything is computed.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "swage/base/json.h"
#include "swage/job/run_progress.h"
#include "swage/plan/rates.h"
#include "swage/schedule/plan_stage.h"

namespace swage::pipeline {

struct Plan {
  int64_t rows = 0, row_tokens = 0;  // calibration; 0 without
  uint64_t source_bytes = 0, output_bytes = 0;
  int64_t quantized_modules = 0, quantized_parameters = 0;
  int64_t pruned_modules = 0;                      // quantized as well, or dense
  double bits_per_weight = 0;                      // of the quantized modules, scales included
  uint64_t activation_bytes = 0;                   // at their largest; they grow with `rows`
  int64_t rows_in_file = 0;                        // whose activations lie in a file
  uint64_t peak_bytes = 0, device_peak_bytes = 0;  // of the process, on the host; estimates
  std::vector<PlanStage> stages;                   // in order
  double seconds = 0;                              // about, all stages; 0: not estimated

  // The stage that takes most of the host's memory; nullptr without stages.
  const PlanStage* largest_stage() const;
  PlanWork work() const;
  std::vector<StageShare> shares() const;  // of its stages, for telling how far a run is
  // Fills the seconds: what computes and what reads and writes go on at the same time.
  void estimate_time(const Rates& rates);

  // What the process may hold at most: all but the process itself, which is measured, may be a twentieth more than was
  // planned.
  uint64_t safe_peak_bytes() const;
  // Error(InvalidArgument) saying the smallest budget that would do if safe_peak_bytes() exceeds `max_memory_bytes` (0:
  // no limit). How far to trust the estimate: docs/performance.md.
  void check_budget(uint64_t max_memory_bytes) const;
  Json to_json() const;
  std::string summary() const;         // one line for people
  std::string time_summary() const;    // another one: about how long it takes; empty if that was not estimated
  std::string memory_summary() const;  // another one: what the peak is made of; empty without stages
  std::string where_activations_are() const;
};

}  // namespace swage::pipeline
