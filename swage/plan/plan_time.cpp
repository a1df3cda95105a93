#include "swage/plan/plan_time.h"

#include <algorithm>

#include "swage/base/amounts.h"
#include "swage/base/error.h"

namespace swage::pipeline {
namespace {

constexpr double kLongSeconds = 300;               // from which on a run with fewer rows is worth a word
constexpr int64_t kFewRows = 64, kShortRow = 512;  // what the tables of docs/quality.md were made with

}  // namespace

std::string tell_time(Plan& plan, const PlanInput& in, const Placement& placement, const Rates& rates) {
  plan.estimate_time(rates);
  const std::string text = plan.time_summary();
  if (in.on_device || plan.seconds < kLongSeconds || in.rows * in.row_tokens < 2 * kFewRows * kShortRow) return text;
  PlanInput fewer = in;
  fewer.rows = std::min(in.rows, kFewRows);
  fewer.row_tokens = std::min(in.row_tokens, kShortRow);
  Plan shorter = placement.plan(fewer);
  shorter.estimate_time(rates);
  return cat(text, "; about ", seconds_text(shorter.seconds), " with --num-calibration-samples ", fewer.rows,
             " --max-seq-length ", fewer.row_tokens);
}

}  // namespace swage::pipeline
