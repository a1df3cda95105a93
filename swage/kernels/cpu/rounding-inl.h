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

template <NumberFormat kFormat>
HWY_INLINE VF round_to_v(VF x) {
  if constexpr (kFormat == NumberFormat::BF16) return round_to_bf16_v(x);
  if constexpr (kFormat == NumberFormat::F16) return round_mantissa_v<10, -14>(x);
  return x;
}

// t, already divided by the scale and with the zero point added, to the nearest code value.
template <bool kFp8>
HWY_INLINE VF round_to_code(VF t, VF min, VF max) {
  t = hn::Min(hn::Max(t, min), max);
  if constexpr (kFp8) return round_mantissa_v<3, -6>(t);
  return hn::Round(t);
}

// Code values to one byte each.
template <bool kFp8>
HWY_INLINE void store_codes(VF code, uint8_t* to) {
  const DF d;
  const DI di;
  if constexpr (kFp8) {
    const auto bits = hn::BitCast(di, code);
    const auto sign = hn::And(hn::ShiftRight<24>(bits), hn::Set(di, 0x80));
    const auto magnitude = hn::Abs(code);
    const auto normal = hn::Sub(hn::ShiftRight<20>(hn::BitCast(di, magnitude)), hn::Set(di, 120 << 3));
    const auto small = hn::ConvertTo(di, hn::Mul(magnitude, hn::Set(d, 512.0f)));
    const auto is_small = hn::RebindMask(di, hn::Lt(magnitude, hn::Set(d, 0.015625f)));
    const auto byte = hn::Or(sign, hn::IfThenElse(is_small, small, normal));
    const hn::Rebind<uint8_t, DI> d8;
    hn::StoreU(hn::DemoteTo(d8, byte), d8, to);
  } else {
    const hn::Rebind<int8_t, DI> d8;
    hn::StoreU(hn::DemoteTo(d8, hn::ConvertTo(di, code)), d8, reinterpret_cast<int8_t*>(to));
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
