#include "swage/job/run_progress.h"

#include <algorithm>

namespace swage::pipeline {

ProgressEvent RunProgress::of_run(ProgressEvent event, const std::string& stage, double began, double stage_eta) const {
  event.eta_seconds = stage_eta;
  const auto current =
      std::find_if(stages_.begin(), stages_.end(), [&](const StageShare& one) { return one.name == stage; });
  if (current == stages_.end()) return event;
  const bool timed = std::any_of(stages_.begin(), stages_.end(), [](const StageShare& one) { return one.seconds > 0; });
  const auto weight_of = [&](const StageShare& one) { return timed ? one.seconds : one.flops; };
  double after = 0;
  for (auto later = current + 1; later != stages_.end(); ++later) after += weight_of(*later);
  const double here = weight_of(*current), spent = std::max(0.0, event.elapsed_seconds - began);
  if (stage_eta < 0) {
    event.eta_seconds = timed ? std::max(0.0, here - spent) + after : -1;
  } else if (here > 0) {
    event.eta_seconds =
        stage_eta + (spent + stage_eta) * after / here;  // the later ones are as much slower than planned as this one
  }
  return event;
}

}  // namespace swage::pipeline
