// Holds a run to its memory budget while it goes on: the plan that was checked before is an estimate.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "swage/base/context.h"
#include "swage/base/memory.h"

namespace swage::pipeline {

// For one thread.
class MemoryGuard {
 public:
  // `budget_bytes` of the host, 0: no limit. `peak` gives the most that the process has held so far.
  MemoryGuard(uint64_t budget_bytes, const Context& context, std::function<int64_t()> peak = peak_rss_bytes);

  // After each layer, once it is kept. The first time that the peak is above the budget this is logged as a warning; a
  // peak of more than a tenth above it is Error(InvalidArgument), which ends the run with a budget that would do: the
  // same command with that one goes on after this layer.
  void check();
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  const uint64_t budget_;
  const Context& context_;
  const std::function<int64_t()> peak_;
  std::vector<std::string> warnings_;
};

}  // namespace swage::pipeline
