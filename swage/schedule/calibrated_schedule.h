// Schedule of a calibrated pass: the list of its actions, made once from the shapes of the model and from what the
// recipe does to it. The run executes it, and whatever is said beforehand (memory, work, time) is added up over it.
#pragma once
#include <string>
#include <vector>

#include "swage/schedule/action.h"
#include "swage/schedule/pass_costs.h"
#include "swage/schedule/plan_input.h"

namespace swage::pipeline {

// A part of the pass that is finished as a whole: a layer, or an end of the model that is solved.
struct Section {
  std::string step;    // its name in the journal
  int64_t block = -1;  // -1: an end
  std::vector<ActionPtr> actions;
};

using CalibratedSchedule = std::vector<Section>;

CalibratedSchedule calibrated_schedule(const PlanInput& input);

// All actions' costs in order; not `solving`: of those alone that take activations through the model. `input` outlives
// the result.
std::unique_ptr<PassCosts> costs_of(const CalibratedSchedule& schedule, const PlanInput& input, bool solving = true);

}  // namespace swage::pipeline
