#include "swage/plan/placement.h"

#include "swage/base/error.h"
#include "swage/base/memory.h"
#include "swage/base/memory_budget.h"

namespace swage::pipeline {
namespace {

uint64_t budget_of(DeviceMap map, uint64_t given) {
  if (given > 0 || map != DeviceMap::AutoOffload) return given;
  return (available_memory_bytes() + uint64_t(current_rss_bytes())) / 10 * 9;
}

}  // namespace

Placement::Placement(DeviceMap map, uint64_t max_memory_bytes) : map_(map), budget_(budget_of(map, max_memory_bytes)) {}

Plan Placement::plan(const PlanInput& input) const {
  PlanInput in = input;
  in.may_offload = may_offload(map_);
  return make_plan_within(in, budget_);
}

void Placement::check(const Plan& plan, const PlanInput& input) const {
  try {
    plan.check_budget(budget_);
  } catch (Error& e) {
    PlanInput in = input;
    if (!in.on_device) in.rows_in_memory = 0;
    const uint64_t offloaded = make_plan(in).safe_peak_bytes();
    if (!may_offload(map_) && offloaded < plan.safe_peak_bytes()) {
      e.add_context(cat("device-map ", to_string(map_),
                        " keeps activations in memory; with auto_offload cpu=", budget_text(offloaded), " would do"));
    }
    throw;
  }
}

std::string Placement::text(const Plan& plan, bool on_device) const {
  std::string out = cat("device map ", to_string(map_), ": computed on ", on_device ? "the GPU" : "the CPU",
                        "; weights one layer at a time, from and to mapped files");
  if (plan.rows > 0)
    out += cat("; activations ",
               on_device ? cat("on the GPU (", budget_text(plan.activation_bytes), ")") : plan.where_activations_are());
  out += cat("; host memory ", budget_text(plan.peak_bytes), " at most");
  if (budget_ > 0) out += cat(" of ", budget_text(budget_));
  if (on_device) out += cat(", device memory ", budget_text(plan.device_peak_bytes));
  return out;
}

}  // namespace swage::pipeline
