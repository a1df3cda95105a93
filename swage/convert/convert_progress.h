// Progress of a conversion: every tensor or module is converted, then checked, which counts as the same work.
#pragma once
#include <string>

#include "swage/base/context.h"
#include "swage/base/memory.h"
#include "swage/report/report.h"

namespace swage::pipeline {

class ConvertProgress {
 public:
  ConvertProgress(const Context& context, size_t count) : context_(context), count_(count) {}

  // A few dozen times a run: in a pipe every event is a line.
  void tell(const std::string& stage, size_t index, const std::string& name) const {
    constexpr size_t kEvents = 16;
    const size_t done = index + 1;
    if (done != count_ && done * kEvents / count_ == index * kEvents / count_) return;
    const double total = 2 * double(count_), past = double(done) + (stage == "checking" ? double(count_) : 0);
    ProgressEvent event;
    event.stage = stage;
    event.modules_done = int64_t(done);
    event.modules = int64_t(count_);
    event.module = name;
    event.milestone = true;
    event.elapsed_seconds = seconds();
    event.eta_seconds = event.elapsed_seconds / past * (total - past);
    event.rss_bytes = current_rss_bytes();
    context_.progress(event);
  }
  double seconds() const { return clock_.total_seconds(); }

 private:
  const Context& context_;
  const size_t count_;
  const StageClock clock_;
};

}  // namespace swage::pipeline
