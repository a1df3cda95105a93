// The part of a plan that measures what the candidates of a bit budget cost: memory and work, as bit_sensitivity.cpp
// does it.
#pragma once
#include "swage/schedule/plan_input.h"
#include "swage/schedule/plan_stage.h"

namespace swage::pipeline {

// Of a run whose assignment has a budget and that has calibration rows.
PlanStage plan_budget(const PlanInput& input);

}  // namespace swage::pipeline
