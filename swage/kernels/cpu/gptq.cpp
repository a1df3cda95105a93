// GPTQ in its left-looking form: a block of columns gathers the errors of all columns before it at matrix-multiply
// speed, then is rounded column by column.
#include "swage/kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "swage/kernels/cpu/gptq.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "swage/kernels/cpu/matrix_rows-inl.h"
#include "swage/kernels/cpu/rounding-inl.h"
#include "swage/kernels/cpu/versions.h"

HWY_BEFORE_NAMESPACE();
namespace swage::kernels {
namespace HWY_NAMESPACE {
namespace {

// kBlockRows: here columns of the weight.
inline constexpr int64_t kWide = 3 * kLanes;  // here: rows of the weight

// v[r] = w[columns + r] + sum_{k<columns} error[k] * m[k][r]; `error` continues into w. m steps kColumnGroup per k.
HWY_NOINLINE void gather_errors(const float* HWY_RESTRICT error, const float* HWY_RESTRICT m, int64_t columns,
                                float* HWY_RESTRICT v) {
  const DF d;
  const float* w = error + columns * kPanel;
#define SWAGE_DECLARE(r)                                                    \
  VF s##r##0 = hn::Load(d, w + (r < kBlockRows ? r : 0) * kPanel);          \
  VF s##r##1 = hn::Load(d, w + (r < kBlockRows ? r : 0) * kPanel + kLanes); \
  VF s##r##2 = hn::Load(d, w + (r < kBlockRows ? r : 0) * kPanel + 2 * kLanes);
  SWAGE_EACH_ROW(SWAGE_DECLARE)
#undef SWAGE_DECLARE
  for (int64_t k = 0; k < columns; ++k, error += kPanel, m += kColumnGroup) {
    const VF e0 = hn::Load(d, error);
    const VF e1 = hn::Load(d, error + kLanes);
    const VF e2 = hn::Load(d, error + 2 * kLanes);
#define SWAGE_STEP(r)                     \
  if constexpr (r < kBlockRows) {         \
    const VF x = hn::Set(d, m[r]);        \
    s##r##0 = hn::MulAdd(x, e0, s##r##0); \
    s##r##1 = hn::MulAdd(x, e1, s##r##1); \
    s##r##2 = hn::MulAdd(x, e2, s##r##2); \
  }
    SWAGE_EACH_ROW(SWAGE_STEP)
#undef SWAGE_STEP
  }
#define SWAGE_FLUSH(r)                                 \
  if constexpr (r < kBlockRows) {                      \
    hn::Store(s##r##0, d, v + r * kWide);              \
    hn::Store(s##r##1, d, v + r * kWide + kLanes);     \
    hn::Store(s##r##2, d, v + r * kWide + 2 * kLanes); \
  }
  SWAGE_EACH_ROW(SWAGE_FLUSH)
#undef SWAGE_FLUSH
}

// Rounds one column for kWide rows. Puts its error where its weight was and adds its share to `loss`.
template <CodeKind kKind>
HWY_INLINE void round_column(const GptqPanel& p, int64_t column, int64_t lane, const float* v, float* loss) {
  const DF d;
  const VF min = hn::Set(d, p.range.min), max = hn::Set(d, p.range.max), weight = hn::Set(d, p.d[column]);
  const int64_t parameters = p.group[column] * kPanel + lane;
  for (int64_t i = 0; i < kWide; i += kLanes) {
    const VF value = hn::Load(d, v + i);
    const VF zero = hn::Load(d, p.zero + parameters + i);
    const VF t = hn::MulAdd(value, hn::Load(d, p.inverse_scale + parameters + i), zero);
    VF code = round_to_code<kKind>(t, min, max);
    if (p.keep != nullptr)
      code = hn::IfThenElse(hn::Eq(hn::Load(d, p.keep + column * kPanel + lane + i), hn::Zero(d)), zero, code);
    store_codes<kKind>(code, p.codes + column * kPanel + lane + i);
    const VF rounded = hn::Mul(hn::Sub(code, zero), hn::Load(d, p.scale + parameters + i));
    float* w = p.weight_error + column * kPanel + lane + i;
    hn::Store(hn::Sub(hn::Load(d, w), rounded), d, w);
    const VF miss = hn::Sub(value, rounded);
    hn::Store(hn::MulAdd(hn::Mul(miss, miss), weight, hn::Load(d, loss + i)), d, loss + i);
  }
}

// The errors of `column` reach the later columns of its block.
HWY_INLINE void update_block(const float* error, const float* m, int first, float* v) {
  const DF d;
  for (int64_t i = 0; i < kWide; i += kLanes) {
    const VF e = hn::Load(d, error + i);
    for (int r = first; r < kBlockRows; ++r) {
      hn::Store(hn::MulAdd(hn::Set(d, m[r]), e, hn::Load(d, v + r * kWide + i)), d, v + r * kWide + i);
    }
  }
}

template <CodeKind kKind>
void solve_rows(const GptqPanel& p, int64_t lane) {
  HWY_ALIGN float v[kBlockRows * kWide];
  HWY_ALIGN float loss[kWide];
  for (int64_t column = 0; column < p.columns; column += kBlockRows) {
    const float* m = p.m + gptq_m_offset(column / kColumnGroup) + column % kColumnGroup;
    gather_errors(p.weight_error + lane, m, column, v);
    for (float& x : loss) x = 0;
    for (int r = 0; r < kBlockRows; ++r) {
      round_column<kKind>(p, column + r, lane, v + r * kWide, loss);
      update_block(p.weight_error + (column + r) * kPanel + lane, m + (column + r) * kColumnGroup, r + 1, v);
    }
    for (int64_t i = 0; i < kWide; ++i) p.loss[lane + i] += static_cast<double>(loss[i]);
  }
}

}  // namespace

void gptq_panel(const GptqPanel& panel) {
  for (int64_t i = 0; i < kPanel; ++i) panel.loss[i] = 0;
  for (int64_t lane = 0; lane < kPanel; lane += kWide) {
    for_kind(panel.range.kind, [&]<CodeKind kKind>() { solve_rows<kKind>(panel, lane); });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace swage::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace swage::kernels {
HWY_EXPORT(gptq_panel);
void gptq_panel_fast(const GptqPanel& panel) { HWY_DYNAMIC_DISPATCH(gptq_panel)(panel); }
}  // namespace swage::kernels
#endif
