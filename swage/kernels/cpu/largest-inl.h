// Largest magnitude of a block of activations, which its scale follows from. Included once per instruction set.
#if defined(SWAGE_KERNELS_LARGEST_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SWAGE_KERNELS_LARGEST_INL_H_
#undef SWAGE_KERNELS_LARGEST_INL_H_
#else
#define SWAGE_KERNELS_LARGEST_INL_H_
#endif

#include "swage/kernels/cpu/rounding-inl.h"

HWY_BEFORE_NAMESPACE();
namespace swage::kernels {
namespace HWY_NAMESPACE {

// Of x [count]; `bad` becomes 0, or NaN if a value is NaN or infinite.
HWY_INLINE float largest_of(const float* HWY_RESTRICT x, int64_t count, float& bad) {
  const DF d;
  VF most = hn::Zero(d), bads = most;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const VF v = hn::LoadU(d, x + i);
    most = hn::Max(most, hn::Abs(v));
    bads = hn::Add(bads, hn::Sub(v, v));
  }
  float largest = hn::GetLane(hn::MaxOfLanes(d, most));
  bad = hn::GetLane(hn::SumOfLanes(d, bads));
  for (; i < count; ++i) {
    largest = HWY_MAX(largest, x[i] < 0 ? -x[i] : x[i]);
    bad += x[i] - x[i];
  }
  return largest;
}

}  // namespace HWY_NAMESPACE
}  // namespace swage::kernels
HWY_AFTER_NAMESPACE();

#endif
