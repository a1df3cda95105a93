// Products of pairs of int16. Included once per instruction set.
#if defined(SWAGE_KERNELS_PAIRS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SWAGE_KERNELS_PAIRS_INL_H_
#undef SWAGE_KERNELS_PAIRS_INL_H_
#else
#define SWAGE_KERNELS_PAIRS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstring>

#include "swage/kernels/cpu/rounding-inl.h"

HWY_BEFORE_NAMESPACE();
namespace swage::kernels {
namespace HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR  // one lane holds no pair: plain versions run
using DS = hn::Repartition<int16_t, DI>;
using VI = hn::Vec<DI>;

// sum + a[0]*b[0] + a[1]*b[1] for every pair of neighbours.
HWY_INLINE VI add_pair_products(VI sum, hn::Vec<DS> a, hn::Vec<DS> b) {
#if HWY_TARGET == HWY_AVX3_DL  // one instruction, which this version of Highway does not know
  asm("vpdpwssd %[b], %[a], %[sum]" : [sum] "+v"(sum.raw) : [a] "v"(a.raw), [b] "v"(b.raw));
  return sum;
#elif HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2  // side by side: GCC makes all products first and spills sums
  decltype(a.raw) products;
  asm("vpmaddwd %[b], %[a], %[products]\n\tvpaddd %[products], %[sum], %[sum]"
      : [sum] "+v"(sum.raw), [products] "=&v"(products)
      : [a] "v"(a.raw), [b] "vm"(b.raw));
  return sum;
#else
  const DI di;
  VI rest = hn::Zero(di);
  sum = hn::ReorderWidenMulAccumulate(di, a, b, sum, rest);
  return hn::Add(sum, rest);
#endif
}

HWY_INLINE hn::Vec<DS> two_of(const int16_t* x) {
  int32_t bits;
  std::memcpy(&bits, x, sizeof bits);
  return hn::BitCast(DS(), hn::Set(DI(), bits));
}
#endif

}  // namespace HWY_NAMESPACE
}  // namespace swage::kernels
HWY_AFTER_NAMESPACE();

#endif
