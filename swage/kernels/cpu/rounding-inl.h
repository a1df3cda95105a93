// SIMD rounding to code values, shared by the kernels. Included once per instruction set.
#if defined(SWAGE_KERNELS_ROUNDING_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SWAGE_KERNELS_ROUNDING_INL_H_
#undef SWAGE_KERNELS_ROUNDING_INL_H_
#else
#define SWAGE_KERNELS_ROUNDING_INL_H_
#endif

#include <hwy/highway.h>

#include "swage/kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace swage::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// At most 16 lanes: panels are 48 wide.
using DF = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<DF>;
using VF = hn::Vec<DF>;
inline constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(DF()));

// See round_mantissa() in number_format.h.
template <int kMantissaBits, int kMinExponent>
HWY_INLINE VF round_mantissa_v(VF x) {
  const DF d;
  const DI di;
  auto step = hn::And(hn::BitCast(di, x), hn::Set(di, 0x7F800000));
  step = hn::Max(step, hn::Set(di, (kMinExponent + 127) << 23));
  step = hn::Sub(step, hn::Set(di, kMantissaBits << 23));
  const auto inverse = hn::Sub(hn::Set(di, 254 << 23), step);
  return hn::Mul(hn::Round(hn::Mul(x, hn::BitCast(d, inverse))), hn::BitCast(d, step));
}

HWY_INLINE VF round_to_bf16_v(VF x) {
  const DF d;
  const hn::RebindToUnsigned<DF> du;
  const auto bits = hn::BitCast(du, x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1u));
  const auto sum = hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7FFFu)));
  return hn::BitCast(d, hn::And(sum, hn::Set(du, 0xFFFF0000u)));
}

// t, already divided by the scale and with the zero point added, to the nearest code value.
template <CodeKind kKind>
HWY_INLINE VF round_to_code(VF t, VF min, VF max) {
  t = hn::Min(hn::Max(t, min), max);
  if constexpr (kKind == CodeKind::Int)
    return hn::Round(t);
  else
    return round_mantissa_v<small_float(kKind).mantissa_bits, small_float(kKind).min_exponent>(t);
}

// Code values to one byte each.
template <CodeKind kKind>
HWY_INLINE void store_codes(VF code, uint8_t* to) {
  const DF d;
  const DI di;
  if constexpr (kKind == CodeKind::Int) {
    const hn::Rebind<int8_t, DI> d8;
    hn::StoreU(hn::DemoteTo(d8, hn::ConvertTo(di, code)), d8, reinterpret_cast<int8_t*>(to));
  } else {
    constexpr SmallFloat f = small_float(kKind);
    constexpr float kSmallestNormal = f.min_exponent == 0 ? 1.0f : 0x1p-6f;
    constexpr float kPerStep = static_cast<float>(1 << (f.mantissa_bits - f.min_exponent));  // subnormal steps in 1
    const auto bits = hn::BitCast(di, code);
    const auto sign = hn::And(hn::ShiftRight<f.sign_shift>(bits), hn::Set(di, 1 << (31 - f.sign_shift)));
    const auto magnitude = hn::Abs(code);
    const auto normal = hn::Sub(hn::ShiftRight<23 - f.mantissa_bits>(hn::BitCast(di, magnitude)),
                                hn::Set(di, (f.min_exponent + 126) << f.mantissa_bits));
    const auto small = hn::ConvertTo(di, hn::Mul(magnitude, hn::Set(d, kPerStep)));
    const auto is_small = hn::RebindMask(di, hn::Lt(magnitude, hn::Set(d, kSmallestNormal)));
    const auto byte = hn::Or(sign, hn::IfThenElse(is_small, small, normal));
    const hn::Rebind<uint8_t, DI> d8;
    hn::StoreU(hn::DemoteTo(d8, byte), d8, to);
  }
}

// Calls f.template operator()<kKind>() for the kind of codes.
template <class F>
HWY_INLINE void for_kind(CodeKind kind, const F& f) {
  switch (kind) {
    case CodeKind::Int:
      return f.template operator()<CodeKind::Int>();
    case CodeKind::E4M3:
      return f.template operator()<CodeKind::E4M3>();
    case CodeKind::E2M3:
      return f.template operator()<CodeKind::E2M3>();
    case CodeKind::E2M1:
      return f.template operator()<CodeKind::E2M1>();
  }
}

// kLanes elements from an array stored in kFormat.
template <NumberFormat kFormat>
HWY_INLINE VF load_as_float_v(const void* data, int64_t i) {
  const DF d;
  if constexpr (kFormat == NumberFormat::BF16) {
    const hn::Rebind<uint16_t, DF> d16;
    const hn::RebindToUnsigned<DF> du;
    const auto bits = hn::PromoteTo(du, hn::LoadU(d16, static_cast<const uint16_t*>(data) + i));
    return hn::BitCast(d, hn::ShiftLeft<16>(bits));
  } else if constexpr (kFormat == NumberFormat::F16) {
    const hn::Rebind<hwy::float16_t, DF> d16;
    const hn::Rebind<uint16_t, DF> du16;
    return hn::PromoteTo(d, hn::BitCast(d16, hn::LoadU(du16, static_cast<const uint16_t*>(data) + i)));
  } else {
    return hn::LoadU(d, static_cast<const float*>(data) + i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace swage::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
