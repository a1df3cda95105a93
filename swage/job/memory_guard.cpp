#include "swage/job/memory_guard.h"

#include <utility>

#include "swage/base/error.h"
#include "swage/base/memory_budget.h"

namespace swage::pipeline {
namespace {

constexpr double kTolerance = 1.1;  // what a plan may be wrong by, see docs/performance.md

}  // namespace

MemoryGuard::MemoryGuard(uint64_t budget_bytes, const Context& context, std::function<int64_t()> peak)
    : budget_(budget_bytes),
      context_(context),
      peak_(std::move(peak)) {}

void MemoryGuard::check() {
  if (budget_ == 0) return;
  const auto held = uint64_t(peak_());
  if (held <= budget_) return;
  const std::string what =
      cat("the run has held ", budget_text(held), " of memory, more than its budget of ", budget_text(budget_));
  SWAGE_CHECK(double(held) <= kTolerance * double(budget_), InvalidArgument, what,
              "; what is finished is kept, the same command with --max-memory \"cpu=",
              budget_text(uint64_t(kTolerance * double(held))), "\" goes on from there");
  if (!warnings_.empty()) return;
  warnings_.push_back(what);
  context_.log(Severity::Warning, what);
}

}  // namespace swage::pipeline
