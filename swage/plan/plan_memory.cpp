#include "swage/plan/plan_memory.h"

#include <algorithm>

#include "swage/schedule/plan_input.h"

namespace swage::pipeline {

Moment::Moment(const PlanInput& in) : on_device_(in.on_device) { host("process", in.process_bytes); }

uint64_t Moment::host_bytes() const {
  uint64_t sum = 0;
  for (const PlanPart& part : parts_) sum += part.host;
  return sum;
}

uint64_t Moment::device_bytes() const {
  uint64_t sum = 0;
  for (const PlanPart& part : parts_) sum += part.device;
  return sum;
}

Moment& Moment::add(const std::string& name, double bytes, bool on_device) {
  if (bytes <= 0) return *this;
  const auto same = [&](const PlanPart& part) { return part.name == name; };
  auto part = std::find_if(parts_.begin(), parts_.end(), same);
  if (part == parts_.end()) part = parts_.insert(parts_.end(), PlanPart{name});
  (on_device ? part->device : part->host) += uint64_t(bytes);
  return *this;
}

void keep_larger(PlanStage& stage, const Moment& moment, const std::string& at) {
  if (moment.host_bytes() + moment.device_bytes() <= stage.host_bytes() + stage.device_bytes()) return;
  stage.parts = moment.parts();
  stage.at = at;
}

}  // namespace swage::pipeline
