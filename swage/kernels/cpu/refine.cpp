// Refinement of solved codes, one group of columns for kPanel rows at a time: the scale that suits the codes best, then
// each code to its best value given all others.
#include "swage/kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "swage/kernels/cpu/refine.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "swage/kernels/cpu/rounding-inl.h"
#include "swage/kernels/cpu/versions.h"

HWY_BEFORE_NAMESPACE();
namespace swage::kernels {
namespace HWY_NAMESPACE {
namespace {

// pull[j] = sum_i units[i] * gram[i][j], units = code - zero, for one vector of rows.
HWY_INLINE void pull_of(const RefinePanel& p, int64_t lane, VF zero, VF* pull) {
  const DF d;
  for (int64_t j = 0; j < p.count; ++j) pull[j] = hn::Zero(d);
  for (int64_t i = 0; i < p.count; ++i) {
    const VF units = hn::Sub(hn::Load(d, p.code + i * kPanel + lane), zero);
    const float* gram = p.gram + i * p.count;
    for (int64_t j = 0; j < p.count; ++j) pull[j] = hn::MulAdd(units, hn::Set(d, gram[j]), pull[j]);
  }
}

// The least-squares scale for the codes as they are, rounded as it is stored; kept only if the loss falls. Returns the
// new scale and takes its effect out of the gradient.
HWY_INLINE VF refit_scale(const RefinePanel& p, int64_t lane, VF scale, VF zero) {
  const DF d;
  VF pull[kLongestRefit];
  pull_of(p, lane, zero, pull);
  VF slope = hn::Zero(d), curvature = hn::Zero(d);
  for (int64_t j = 0; j < p.count; ++j) {
    const VF units = hn::Sub(hn::Load(d, p.code + j * kPanel + lane), zero);
    slope = hn::MulAdd(hn::Load(d, p.gradient + j * kPanel + lane), units, slope);
    curvature = hn::MulAdd(pull[j], units, curvature);
  }
  HWY_ALIGN float slopes[kLanes], curvatures[kLanes], scales[kLanes];
  hn::Store(slope, d, slopes);
  hn::Store(curvature, d, curvatures);
  hn::Store(scale, d, scales);
  for (int64_t i = 0; i < kLanes; ++i) scales[i] = refitted_scale(p.rule, scales[i], slopes[i], curvatures[i]);
  const VF fitted = hn::Load(d, scales), change = hn::Sub(fitted, scale);
  for (int64_t j = 0; j < p.count; ++j) {
    float* gradient = p.gradient + j * kPanel + lane;
    hn::Store(hn::NegMulAdd(change, pull[j], hn::Load(d, gradient)), d, gradient);
  }
  return fitted;
}

template <CodeKind kKind>
void refine_rows(const RefinePanel& p, int64_t lane) {
  const DF d;
  const VF old_scale = hn::Load(d, p.scale + lane), zero = hn::Load(d, p.zero + lane);
  const VF min = hn::Set(d, p.range.min), max = hn::Set(d, p.range.max);
  const VF scale = p.refit ? refit_scale(p, lane, old_scale, zero) : old_scale;
  const VF inverse = hn::Div(hn::Set(d, 1.0f), scale);
  hn::Store(scale, d, p.scale + lane);
  for (int64_t j = 0; j < p.count; ++j) {
    float* code = p.code + j * kPanel + lane;
    const VF old_code = hn::Load(d, code);
    const float* gram = p.gram + j * p.count;
    // The best value lies gradient / H_jj from the present one.
    const VF step =
        hn::Mul(hn::Mul(hn::Load(d, p.gradient + j * kPanel + lane), hn::Set(d, p.inverse_diagonal[j])), inverse);
    const VF t = hn::Add(old_code, step);
    VF new_code = round_to_code<kKind>(t, min, max);
    if (p.keep != nullptr)
      new_code = hn::IfThenElse(hn::Eq(hn::Load(d, p.keep + j * kPanel + lane), hn::Zero(d)), old_code, new_code);
    hn::Store(new_code, d, code);
    const VF old_value = hn::Mul(hn::Sub(old_code, zero), old_scale),
             new_value = hn::Mul(hn::Sub(new_code, zero), scale);
    hn::Store(hn::Sub(new_value, old_value), d, p.change + j * kPanel + lane);
    const VF moved = hn::Mul(hn::Sub(new_code, old_code), scale);
    if (hn::AllTrue(d, hn::Eq(moved, hn::Zero(d)))) continue;
    for (int64_t k = j + 1; k < p.count; ++k) {
      float* gradient = p.gradient + k * kPanel + lane;
      hn::Store(hn::NegMulAdd(moved, hn::Set(d, gram[k]), hn::Load(d, gradient)), d, gradient);
    }
  }
}

}  // namespace

void refine_panel(const RefinePanel& panel) {
  for (int64_t lane = 0; lane < kPanel; lane += kLanes) {
    for_kind(panel.range.kind, [&]<CodeKind kKind>() { refine_rows<kKind>(panel, lane); });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace swage::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace swage::kernels {
HWY_EXPORT(refine_panel);
void refine_panel_fast(const RefinePanel& panel) { HWY_DYNAMIC_DISPATCH(refine_panel)(panel); }
}  // namespace swage::kernels
#endif
