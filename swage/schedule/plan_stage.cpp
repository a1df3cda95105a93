#include "swage/schedule/plan_stage.h"

namespace swage::pipeline {

uint64_t PlanStage::host_bytes() const {
  uint64_t sum = 0;
  for (const PlanPart& part : parts) sum += part.host;
  return sum;
}

uint64_t PlanStage::device_bytes() const {
  uint64_t sum = 0;
  for (const PlanPart& part : parts) sum += part.device;
  return sum;
}

PlanWork& PlanWork::operator+=(const PlanWork& other) {
  linear_flops += other.linear_flops;
  integer_flops += other.integer_flops;
  attention_flops += other.attention_flops;
  gram_flops += other.gram_flops;
  solve_flops += other.solve_flops;
  moved_bytes += other.moved_bytes;
  read_bytes += other.read_bytes;
  written_bytes += other.written_bytes;
  return *this;
}

}  // namespace swage::pipeline
