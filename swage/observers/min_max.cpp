#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>

#include "swage/observers/kinds.h"
#include "swage/solvers/range_search.h"

namespace swage::observers {

at::Tensor RangeMemory::joined(const at::Tensor& before, const at::Tensor& now, bool smallest) const {
  if (!before.defined() || memory_ == Memory::None) return now;
  if (memory_ == Memory::All) return smallest ? at::minimum(before, now) : at::maximum(before, now);
  if (averaging_constant_ == 1.0) return now;
  return before.mul(1.0 - averaging_constant_).add(now.mul(averaging_constant_));  // each step rounded to their dtype
}

namespace {

class MinMax final : public Observer {
 public:
  MinMax(const scheme::QuantizationArgs& args, Role role, Memory memory)
      : Observer(args, role),
        memory_(memory, args.observer_kwargs.get_double("averaging_constant", 0.01)) {}

 protected:
  BatchRange measure(const at::Tensor& x, const solvers::GridSpec& spec) const override {
    const solvers::GroupRanges ranges = solvers::ranges_of_groups(x, spec);
    return {ranges.low.to(x.scalar_type()), ranges.high.to(x.scalar_type())};
  }
  void join(const BatchRange& batch) override { take(memory_.low(low(), batch.low), memory_.high(high(), batch.high)); }

 private:
  RangeMemory memory_;
};

}  // namespace

std::unique_ptr<Observer> make_min_max(const scheme::QuantizationArgs& args, Role role, Memory memory) {
  return std::make_unique<MinMax>(args, role, memory);
}

}  // namespace swage::observers
