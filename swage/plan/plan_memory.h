// What is in memory at a moment of a run, and the moment at which it is most.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "swage/plan/plan.h"

namespace swage::pipeline {

inline constexpr double kFloat = 4;  // bytes of a float32

struct PlanInput;

// Parts of one moment, in the order given. Those that move with the model go to the device, if there is one.
class Moment {
 public:
  explicit Moment(const PlanInput& in);
  Moment& host(const std::string& name, double bytes) { return add(name, bytes, false); }
  Moment& moves(const std::string& name, double bytes) { return add(name, bytes, on_device_); }
  uint64_t host_bytes() const;
  uint64_t device_bytes() const;
  const std::vector<PlanPart>& parts() const { return parts_; }

 private:
  Moment& add(const std::string& name, double bytes, bool on_device);

  bool on_device_;
  std::vector<PlanPart> parts_;
};

// Keeps the larger of what `stage` holds and `moment`: the host's memory counts, the device's where a device is used.
void keep_larger(PlanStage& stage, const Moment& moment, const std::string& at);

}  // namespace swage::pipeline
