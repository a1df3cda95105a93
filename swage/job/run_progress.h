// Where a run stands as a whole: what a stage says of itself, with the time of the stages after it.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "swage/base/context.h"

namespace swage::pipeline {

// How long a planned stage is beside the others: its seconds, where they were estimated, else its arithmetic.
struct StageShare {
  std::string name;
  double flops = 0, seconds = 0;
};

// For one thread at a time.
class RunProgress {
 public:
  // The stages in order. All have seconds or none.
  void plan(std::vector<StageShare> stages) { stages_ = std::move(stages); }
  // The event with the time until the run ends. `began` is when the stage of that name in the plan did, `stage_eta`
  // what it still takes, -1: unknown; both in seconds, since the run began and from now on. Without the latter the
  // plan's own estimate counts, where it has one.
  ProgressEvent of_run(ProgressEvent event, const std::string& stage, double began, double stage_eta) const;

 private:
  std::vector<StageShare> stages_;
};

}  // namespace swage::pipeline
