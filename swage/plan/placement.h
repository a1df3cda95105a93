// A device map and a memory budget as a plan: where weights, activations and Gram matrices are during a run.
#pragma once
#include <cstdint>
#include <string>

#include "swage/base/device_map.h"
#include "swage/plan/make_plan.h"

namespace swage::pipeline {

// Weights always come one layer at a time from the mapped files of the model and go to the mapped files of the output,
// so that no map keeps a whole model in memory; what a map decides is the device, and whether activations may go to a
// file.
class Placement {
 public:
  // `max_memory_bytes` of the host, 0: no limit; with AutoOffload, 0 stands for nine tenths of what the process could
  // take now.
  Placement(DeviceMap map, uint64_t max_memory_bytes);

  Plan plan(const PlanInput& input) const;
  // Error(InvalidArgument) saying what would do if the plan's peak exceeds the budget.
  void check(const Plan& plan, const PlanInput& input) const;
  // One line for people.
  std::string text(const Plan& plan, bool on_device) const;

 private:
  DeviceMap map_;
  uint64_t budget_;
};

}  // namespace swage::pipeline
