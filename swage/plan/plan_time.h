// How long a planned run takes, and what fewer rows would take: the defaults suit a GPU.
#pragma once
#include <string>

#include "swage/plan/placement.h"
#include "swage/plan/rates.h"

namespace swage::pipeline {

// Fills the plan's times, and says them in one line, on a CPU with those of fewer rows where that is much less.
std::string tell_time(Plan& plan, const PlanInput& in, const Placement& placement, const Rates& rates);

}  // namespace swage::pipeline
