// Scale search: 16 groups side by side, so that a candidate's scale, codes and error need no reduction across lanes.
#include "swage/kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "swage/kernels/cpu/scale_search.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "swage/kernels/cpu/rounding-inl.h"
#include "swage/kernels/cpu/versions.h"

HWY_BEFORE_NAMESPACE();
namespace swage::kernels {
namespace HWY_NAMESPACE {
namespace {

// log2 of a positive normal number, relative error of the fraction 1e-5: minimax in t = m - 1, m in [sqrt(1/2), sqrt(2)).
HWY_INLINE VF log2_v(VF x) {
  const DF d;
  const DI di;
  const auto bits = hn::BitCast(di, x);
  const auto exponent = hn::ShiftRight<23>(hn::Sub(bits, hn::Set(di, 0x3F3504F3)));
  const VF t = hn::Sub(hn::BitCast(d, hn::Sub(bits, hn::ShiftLeft<23>(exponent))), hn::Set(d, 1.0f));
  VF y = hn::Set(d, -0.2115302037f);
  y = hn::MulAdd(y, t, hn::Set(d, 0.3198263017f));
  y = hn::MulAdd(y, t, hn::Set(d, -0.3658557265f));
  y = hn::MulAdd(y, t, hn::Set(d, 0.4796712537f));
  y = hn::MulAdd(y, t, hn::Set(d, -0.7212235041f));
  y = hn::MulAdd(y, t, hn::Set(d, 1.4427030274f));
  return hn::MulAdd(y, t, hn::ConvertTo(d, exponent));
}

// Adding and subtracting 1.5 * 2^23 rounds |x| < 2^22 to the nearest integer, ties to even, on both vector ports; the sum's
// low bits are that integer.
HWY_INLINE VF rounder() { return hn::Set(DF(), 12582912.0f); }

// 2^x for x in [-126, 127], relative error 3e-6: minimax on [-1/2, 1/2].
HWY_INLINE VF exp2_v(VF x) {
  const DF d;
  const DI di;
  const VF shifted = hn::Add(x, rounder());
  const VF t = hn::Sub(x, hn::Sub(shifted, rounder()));
  VF y = hn::Set(d, 0.0096856998f);
  y = hn::MulAdd(y, t, hn::Set(d, 0.0559220258f));
  y = hn::MulAdd(y, t, hn::Set(d, 0.2402186579f));
  y = hn::MulAdd(y, t, hn::Set(d, 0.6931210358f));
  y = hn::MulAdd(y, t, hn::Set(d, 1.0000001510f));
  const auto exponent = hn::ShiftLeft<23>(hn::BitCast(di, shifted));
  return hn::BitCast(d, hn::Add(hn::BitCast(di, y), exponent));
}

struct Candidate {
  VF scale, zero;
};

template <NumberFormat kFormat>
HWY_INLINE Candidate make_candidate(const ScaleSearchPanel& p, VF low, VF high, float factor) {
  const DF d;
  const VF f = hn::Set(d, factor), divisor = hn::Set(d, p.divisor);
  const VF width = p.symmetric ? hn::Max(hn::Neg(low), high) : hn::Sub(high, low);
  VF scale = round_to_v<kFormat>(hn::Div(hn::Mul(width, f), divisor));
  scale = hn::IfThenElse(hn::Eq(scale, hn::Zero(d)), hn::Set(d, p.zero_scale), scale);
  if (p.symmetric) return {scale, hn::Zero(d)};
  const VF min = hn::Set(d, p.range.min), max = hn::Set(d, p.range.max);
  const VF zero = hn::Sub(min, hn::Div(hn::Mul(low, f), scale));
  return {scale, hn::Round(hn::Min(hn::Max(zero, min), max))};
}

inline constexpr int64_t kStretch = 16;  // weights between two looks at whether the candidate can still win

// Sum of |code value - w|^norm, times a constant per lane: 2^log2_unit. kSquare: norm 2, and no constant. Sums only grow: the
// sum is left unfinished once no lane is below `best`.
template <bool kFp8, bool kSquare>
HWY_INLINE VF candidate_error(const ScaleSearchPanel& p, int64_t lane, Candidate c, VF log2_unit, VF best) {
  const DF d;
  const VF min = hn::Set(d, p.range.min), max = hn::Set(d, p.range.max), norm = hn::Set(d, p.norm);
  const VF inverse = hn::Div(hn::Set(d, 1.0f), c.scale);
  VF sum = hn::Zero(d);
  for (int64_t begin = 0; begin < p.count; begin += kStretch) {
    for (int64_t i = begin; i < HWY_MIN(begin + kStretch, p.count); ++i) {
      const VF w = hn::Load(d, p.weight + i * kSearchLanes + lane);
      VF code = hn::Min(hn::Max(hn::MulAdd(w, inverse, c.zero), min), max);
      if constexpr (kFp8) code = round_mantissa_v<3, -6>(code);
      else code = hn::Sub(hn::Add(code, rounder()), rounder());
      const VF error = hn::MulSub(hn::Sub(code, c.zero), c.scale, w);
      if constexpr (kSquare) {
        sum = hn::MulAdd(error, error, sum);
      } else {
        const VF power = hn::MulAdd(norm, log2_v(hn::Abs(error)), log2_unit);
        sum = hn::Add(sum, exp2_v(hn::Max(power, hn::Set(d, -126.0f))));  // an error of 0 counts as 2^-126
      }
    }
    if (hn::AllTrue(d, hn::Ge(sum, best))) break;
  }
  return sum;
}

template <bool kFp8, bool kSquare, NumberFormat kFormat>
void search_lanes(const ScaleSearchPanel& p, int64_t lane) {
  const DF d;
  const VF low = hn::Load(d, p.low + lane), high = hn::Load(d, p.high + lane);
  // Errors are counted in units of the largest weight, so that the power neither under- nor overflows.
  const VF unit = hn::Max(hn::Max(hn::Neg(low), high), hn::Set(d, 1e-30f));
  const VF log2_unit = hn::Neg(hn::Mul(hn::Set(d, p.norm), log2_v(unit)));
  VF best = hn::Set(d, 3.0e38f), best_scale = hn::Zero(d), best_zero = hn::Zero(d);
  for (int64_t i = 0; i < p.steps; ++i) {
    const Candidate c = make_candidate<kFormat>(p, low, high, p.factors[i]);
    const VF error = candidate_error<kFp8, kSquare>(p, lane, c, log2_unit, best);
    const auto better = hn::Or(hn::Lt(error, best), hn::Eq(best_scale, hn::Zero(d)));
    best = hn::IfThenElse(better, error, best);
    best_scale = hn::IfThenElse(better, c.scale, best_scale);
    best_zero = hn::IfThenElse(better, c.zero, best_zero);
  }
  hn::Store(best_scale, d, p.scale + lane);
  hn::Store(best_zero, d, p.zero + lane);
}

template <bool kFp8, bool kSquare>
void search_format(const ScaleSearchPanel& p, int64_t lane) {
  switch (p.scale_format) {
    case NumberFormat::F32: return search_lanes<kFp8, kSquare, NumberFormat::F32>(p, lane);
    case NumberFormat::BF16: return search_lanes<kFp8, kSquare, NumberFormat::BF16>(p, lane);
    case NumberFormat::F16: return search_lanes<kFp8, kSquare, NumberFormat::F16>(p, lane);
  }
}

}  // namespace

void search_scales(const ScaleSearchPanel& p) {
  const bool square = p.norm == 2.0f;
  for (int64_t lane = 0; lane < kSearchLanes; lane += kLanes) {
    if (p.range.fp8) {
      if (square) search_format<true, true>(p, lane);
      else search_format<true, false>(p, lane);
    } else {
      if (square) search_format<false, true>(p, lane);
      else search_format<false, false>(p, lane);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace swage::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace swage::kernels {
HWY_EXPORT(search_scales);
void search_scales_fast(const ScaleSearchPanel& panel) { HWY_DYNAMIC_DISPATCH(search_scales)(panel); }
}  // namespace swage::kernels
#endif
