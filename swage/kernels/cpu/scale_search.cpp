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

// log2 of a positive normal number, relative error of the fraction 1e-5: minimax in t = m - 1, m in [sqrt(1/2),
// sqrt(2)).
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

// Adding and subtracting 1.5 * 2^23 rounds |x| < 2^22 to the nearest integer, ties to even, on both vector ports; the
// sum's low bits are that integer.
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

// See mx_exponent() in number_format.h.
HWY_INLINE VF power_of_two_v(VF largest, CodeKind kind) {
  const DF d;
  const DI di;
  const auto raised = hn::Add(hn::BitCast(di, hn::Abs(largest)), hn::Set(di, 1 << (kind == CodeKind::E2M3 ? 19 : 21)));
  const auto byte = hn::Sub(hn::ShiftRight<23>(raised), hn::Set(di, kind == CodeKind::E4M3 ? 8 : 2));
  const auto kept = hn::Min(hn::Max(byte, hn::Zero(di)), hn::Set(di, 254));
  const auto bits = hn::IfThenElse(hn::Eq(kept, hn::Zero(di)), hn::Set(di, 1 << 22), hn::ShiftLeft<23>(kept));
  return hn::BitCast(d, bits);
}

// See stored_scale() in number_format.h.
HWY_INLINE VF stored_scale_v(const ScaleRule& rule, VF raw, VF largest) {
  const DF d;
  const VF zero_scale = hn::Set(d, rule.zero_scale), global = hn::Set(d, rule.global);
  VF scale = raw;
  switch (rule.format) {
    case ScaleFormat::PowerOfTwo:
      return power_of_two_v(largest, rule.codes);
    case ScaleFormat::E4M3:
      scale = round_mantissa_v<3, -6>(hn::Min(hn::Mul(raw, global), hn::Set(d, 448.0f)));
      break;
    case ScaleFormat::BF16:
      scale = round_to_bf16_v(raw);
      break;
    case ScaleFormat::F16:
      scale = round_mantissa_v<10, -14>(raw);
      break;
    case ScaleFormat::F32:
      break;
  }
  scale = hn::IfThenElse(hn::Eq(scale, hn::Zero(d)), zero_scale, scale);
  return rule.format == ScaleFormat::E4M3 ? hn::Div(scale, global) : scale;
}

HWY_INLINE Candidate make_candidate(const ScaleSearchPanel& p, VF low, VF high, float factor) {
  const DF d;
  const VF f = hn::Set(d, factor), divisor = hn::Set(d, p.divisor);
  const VF width = hn::Mul(p.symmetric ? hn::Max(hn::Neg(low), high) : hn::Sub(high, low), f);
  const VF scale = stored_scale_v(p.rule, hn::Div(width, divisor), width);
  if (p.symmetric) return {scale, hn::Zero(d)};
  const VF min = hn::Set(d, p.range.min), max = hn::Set(d, p.range.max);
  const VF zero = hn::Sub(min, hn::Div(hn::Mul(low, f), scale));
  return {scale, hn::Round(hn::Min(hn::Max(zero, min), max))};
}

inline constexpr int64_t kStretch = 16;  // weights between two looks at whether the candidate can still win

// Sum of |code value - w|^norm, times a constant per lane: 2^log2_unit. kSquare: norm 2, and no constant. Sums only
// grow: the sum is left unfinished once no lane is below `best`.
template <CodeKind kKind, bool kSquare, bool kWeighted>
HWY_INLINE VF candidate_error(const ScaleSearchPanel& p, int64_t lane, Candidate c, VF log2_unit, VF best) {
  const DF d;
  const VF min = hn::Set(d, p.range.min), max = hn::Set(d, p.range.max), norm = hn::Set(d, p.norm);
  const VF inverse = hn::Div(hn::Set(d, 1.0f), c.scale);
  VF sum = hn::Zero(d);
  for (int64_t begin = 0; begin < p.count; begin += kStretch) {
    for (int64_t i = begin; i < HWY_MIN(begin + kStretch, p.count); ++i) {
      const VF w = hn::Load(d, p.weight + i * kSearchLanes + lane);
      VF code = hn::Min(hn::Max(hn::MulAdd(w, inverse, c.zero), min), max);
      if constexpr (kKind == CodeKind::Int)
        code = hn::Sub(hn::Add(code, rounder()), rounder());
      else
        code = round_mantissa_v<small_float(kKind).mantissa_bits, small_float(kKind).min_exponent>(code);
      const VF error = hn::MulSub(hn::Sub(code, c.zero), c.scale, w);
      if constexpr (kSquare && !kWeighted) {
        sum = hn::MulAdd(error, error, sum);
        continue;
      }
      VF power = hn::Mul(error, error);
      if constexpr (!kSquare) {
        const VF log2_power = hn::MulAdd(norm, log2_v(hn::Abs(error)), log2_unit);
        power = exp2_v(hn::Max(log2_power, hn::Set(d, -126.0f)));  // an error of 0 counts as 2^-126
      }
      if constexpr (kWeighted)
        sum = hn::MulAdd(power, hn::Load(d, p.importance + i * kSearchLanes + lane), sum);
      else
        sum = hn::Add(sum, power);
    }
    if (hn::AllTrue(d, hn::Ge(sum, best))) break;
  }
  return sum;
}

// Errors are counted in units of the largest weight, so that the power neither under- nor overflows.
HWY_INLINE VF log2_unit_of(const ScaleSearchPanel& p, VF low, VF high) {
  const DF d;
  const VF unit = hn::Max(hn::Max(hn::Neg(low), high), hn::Set(d, 1e-30f));
  return hn::Neg(hn::Mul(hn::Set(d, p.norm), log2_v(unit)));
}

template <CodeKind kKind, bool kSquare, bool kWeighted>
void search_lanes(const ScaleSearchPanel& p, int64_t lane) {
  const DF d;
  const VF low = hn::Load(d, p.low + lane), high = hn::Load(d, p.high + lane);
  const VF log2_unit = log2_unit_of(p, low, high);
  VF best = hn::Set(d, 3.0e38f), best_scale = hn::Zero(d), best_zero = hn::Zero(d), best_step = hn::Zero(d);
  for (int64_t i = 0; i < p.steps; ++i) {
    const Candidate c = make_candidate(p, low, high, p.factors[i]);
    const VF error = candidate_error<kKind, kSquare, kWeighted>(p, lane, c, log2_unit, best);
    const auto better = hn::Or(hn::Lt(error, best), hn::Eq(best_scale, hn::Zero(d)));
    best = hn::IfThenElse(better, error, best);
    best_scale = hn::IfThenElse(better, c.scale, best_scale);
    best_zero = hn::IfThenElse(better, c.zero, best_zero);
    best_step = hn::IfThenElse(better, hn::Set(d, static_cast<float>(i)), best_step);
    if (p.improved != nullptr && !hn::AllFalse(d, better)) p.improved[i] = 1;
  }
  hn::Store(best_scale, d, p.scale + lane);
  hn::Store(best_zero, d, p.zero + lane);
  if (p.step != nullptr) hn::StoreU(hn::ConvertTo(DI(), best_step), DI(), p.step + lane);
}

// All lanes belong to one group: every candidate's sum over them, in f64 from lane to lane.
template <CodeKind kKind, bool kSquare, bool kWeighted>
void search_one_group(const ScaleSearchPanel& p) {
  const DF d;
  const VF low = hn::Load(d, p.low), high = hn::Load(d, p.high), never = hn::Set(d, 3.0e38f);
  const VF log2_unit = log2_unit_of(p, low, high);
  HWY_ALIGN float errors[kLanes];
  for (int64_t i = 0; i < p.steps; ++i) {
    const Candidate c = make_candidate(p, low, high, p.factors[i]);
    p.scale[i] = hn::GetLane(c.scale);
    p.zero[i] = hn::GetLane(c.zero);
    p.error[i] = 0;
    for (int64_t lane = 0; lane < kSearchLanes; lane += kLanes) {
      hn::Store(candidate_error<kKind, kSquare, kWeighted>(p, lane, c, log2_unit, never), d, errors);
      for (const float error : errors) p.error[i] += static_cast<double>(error);
    }
  }
}

template <CodeKind kKind, bool kSquare, bool kWeighted>
void search_panel(const ScaleSearchPanel& p) {
  if (p.error != nullptr) return search_one_group<kKind, kSquare, kWeighted>(p);
  for (int64_t lane = 0; lane < kSearchLanes; lane += kLanes) search_lanes<kKind, kSquare, kWeighted>(p, lane);
}

}  // namespace

void search_scales(const ScaleSearchPanel& p) {
  for_kind(p.range.kind, [&]<CodeKind kKind>() {
    if (p.importance != nullptr)
      p.norm == 2.0f ? search_panel<kKind, true, true>(p) : search_panel<kKind, false, true>(p);
    else
      p.norm == 2.0f ? search_panel<kKind, true, false>(p) : search_panel<kKind, false, false>(p);
  });
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
