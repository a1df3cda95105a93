// The observers that the table in observer.cpp makes; not for other folders.
#pragma once
#include <memory>

#include "swage/observers/observer.h"

namespace swage::observers {

// How batches become one range: memoryless, over all time, or on average.
enum class Memory { None, All, Average };

struct RangeFactors {
  double expand = 1, maxshrink = 0.2, grid = 100, norm = 2.4;
  int64_t patience = 5;
  bool importance = false;
};

std::unique_ptr<Observer> make_min_max(const scheme::QuantizationArgs& args, Role role, Memory memory);
// `defaults` are overridden by args.observer_kwargs.
std::unique_ptr<Observer> make_mse(const scheme::QuantizationArgs& args, Role role, Memory memory,
                                   const RangeFactors& defaults);
std::unique_ptr<Observer> make_percentile(const scheme::QuantizationArgs& args, Role role);

// Joins the ranges of batches, in the dtype of the values.
class RangeMemory {
 public:
  RangeMemory(Memory memory, double averaging_constant) : memory_(memory), averaging_constant_(averaging_constant) {}
  // What `before` (undefined for the first batch) becomes with the batch's `now`.
  at::Tensor low(const at::Tensor& before, const at::Tensor& now) const { return joined(before, now, true); }
  at::Tensor high(const at::Tensor& before, const at::Tensor& now) const { return joined(before, now, false); }

 private:
  at::Tensor joined(const at::Tensor& before, const at::Tensor& now, bool smallest) const;

  Memory memory_;
  double averaging_constant_;
};

}  // namespace swage::observers
