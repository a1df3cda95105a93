// Schedule of a calibrated pass: the list of its actions, made once from the shapes of the model and from what the
// recipe does to it. The run executes it, and whatever is said beforehand (memory, work, time) is added up over it.
#pragma once
#include <string>
#include <vector>

#include "swage/schedule/plan_input.h"
#include "swage/schedule/section.h"

namespace swage::pipeline {

using Section = SectionOn<PassState>;  // a layer, or an end of the model that is solved

using CalibratedSchedule = std::vector<Section>;

CalibratedSchedule calibrated_schedule(const PlanInput& input);

// All actions' costs in order. `input` outlives the result.
std::unique_ptr<PassCosts> costs_of(const CalibratedSchedule& schedule, const PlanInput& input);

}  // namespace swage::pipeline
