// SparseGPT on the factor of GPTQ: a block of columns gathers the errors of all columns before it at matrix-multiply
// speed, then is pruned column by column.
#include "swage/kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "swage/kernels/cpu/prune.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "swage/kernels/cpu/matrix_rows-inl.h"
#include "swage/kernels/cpu/rounding-inl.h"
#include "swage/kernels/cpu/versions.h"

HWY_BEFORE_NAMESPACE();
namespace swage::kernels {
namespace HWY_NAMESPACE {
namespace {

inline constexpr int kPruneColumns = kBlockRows;   // of the weight, in registers at a time
inline constexpr int64_t kPruneRows = 3 * kLanes;  // rows of the weight

// value[c] += sum_{from<=k<to} error[k] * m[k][c] for kPruneColumns columns; `error` and `m` begin at k = from.
HWY_NOINLINE void add_errors(const float* HWY_RESTRICT error, const float* HWY_RESTRICT m, int64_t count,
                             float* HWY_RESTRICT value) {
  const DF d;
#define SWAGE_DECLARE(r)                                                           \
  VF s##r##0 = hn::Load(d, value + (r < kPruneColumns ? r : 0) * kPanel);          \
  VF s##r##1 = hn::Load(d, value + (r < kPruneColumns ? r : 0) * kPanel + kLanes); \
  VF s##r##2 = hn::Load(d, value + (r < kPruneColumns ? r : 0) * kPanel + 2 * kLanes);
  SWAGE_EACH_ROW(SWAGE_DECLARE)
#undef SWAGE_DECLARE
  for (int64_t k = 0; k < count; ++k, error += kPanel, m += kColumnGroup) {
    const VF e0 = hn::Load(d, error);
    const VF e1 = hn::Load(d, error + kLanes);
    const VF e2 = hn::Load(d, error + 2 * kLanes);
#define SWAGE_STEP(r)                     \
  if constexpr (r < kPruneColumns) {      \
    const VF x = hn::Set(d, m[r]);        \
    s##r##0 = hn::MulAdd(x, e0, s##r##0); \
    s##r##1 = hn::MulAdd(x, e1, s##r##1); \
    s##r##2 = hn::MulAdd(x, e2, s##r##2); \
  }
    SWAGE_EACH_ROW(SWAGE_STEP)
#undef SWAGE_STEP
  }
#define SWAGE_FLUSH(r)                                      \
  if constexpr (r < kPruneColumns) {                        \
    hn::Store(s##r##0, d, value + r * kPanel);              \
    hn::Store(s##r##1, d, value + r * kPanel + kLanes);     \
    hn::Store(s##r##2, d, value + r * kPanel + 2 * kLanes); \
  }
  SWAGE_EACH_ROW(SWAGE_FLUSH)
#undef SWAGE_FLUSH
}

// The errors of columns from .. to-1 reach the values of columns first .. last-1.
void gather_columns(const PrunePanel& p, int64_t lane, int64_t from, int64_t to, int64_t first, int64_t last) {
  for (int64_t c = first; c < last; c += kPruneColumns) {
    const float* m = p.m + gptq_m_offset(c / kColumnGroup) + from * kColumnGroup + c % kColumnGroup;
    add_errors(p.weight_error + from * kPanel + lane, m, to - from, p.value + (c - p.begin) * kPanel + lane);
  }
}

// Of the `group` columns from `column` on, the `dropped` with the least v^2 d are not kept, the first of equals before
// the later ones; those that `keep` drops already come before all others. The v are those that follow if the whole
// group is kept.
void choose_kept(const PrunePanel& p, int64_t column, int64_t lane) {
  const DF d;
  const VF one = hn::Set(d, 1.0f), zero = hn::Zero(d);
  const int64_t at = (column - p.begin) * kPanel + lane;
  for (int64_t i = 0; i < kPruneRows; i += kLanes) {
    VF cost[kLongestPruneGroup], rank[kLongestPruneGroup], error[kLongestPruneGroup];
    for (int64_t j = 0; j < p.group; ++j) {
      VF v = hn::Load(d, p.value + at + j * kPanel + i);
      const float* m =
          p.m + gptq_m_offset((column + j) / kColumnGroup) + column * kColumnGroup + (column + j) % kColumnGroup;
      for (int64_t k = 0; k < j; ++k) v = hn::MulAdd(hn::Set(d, m[k * kColumnGroup]), error[k], v);
      error[j] = hn::Sub(hn::Load(d, p.weight_error + (column + j) * kPanel + lane + i), v);
      const VF kept = hn::Load(d, p.keep + at + j * kPanel + i);
      cost[j] =
          hn::IfThenElse(hn::Eq(kept, zero), hn::Set(d, -1.0f), hn::Mul(hn::Mul(v, v), hn::Set(d, p.d[column + j])));
      rank[j] = zero;
      for (int64_t k = 0; k < j; ++k) {
        const auto later = hn::Lt(cost[j], cost[k]);
        rank[k] = hn::Add(rank[k], hn::IfThenElseZero(later, one));
        rank[j] = hn::Add(rank[j], hn::IfThenZeroElse(later, one));
      }
    }
    for (int64_t j = 0; j < p.group; ++j) {
      const auto stays = hn::And(hn::Ge(rank[j], hn::Set(d, static_cast<float>(p.dropped))), hn::Ge(cost[j], zero));
      hn::Store(hn::IfThenElseZero(stays, one), d, p.keep + at + j * kPanel + i);
    }
  }
}

// Prunes one column for kPruneRows rows; its errors reach the columns up to `last`.
void prune_column(const PrunePanel& p, int64_t column, int64_t last, int64_t lane) {
  const DF d;
  const VF weight = hn::Set(d, p.d[column]);
  const int64_t at = (column - p.begin) * kPanel + lane;
  float* error = p.weight_error + column * kPanel + lane;
  for (int64_t i = 0; i < kPruneRows; i += kLanes) {
    const VF v = hn::Load(d, p.value + at + i);
    const VF pruned = hn::Mul(v, hn::Load(d, p.keep + at + i)), miss = hn::Sub(v, pruned);
    hn::Store(pruned, d, p.value + at + i);
    hn::Store(hn::Sub(hn::Load(d, error + i), pruned), d, error + i);
    hn::Store(hn::MulAdd(hn::Mul(miss, miss), weight, hn::Load(d, p.loss + lane + i)), d, p.loss + lane + i);
  }
  for (int64_t c = column + 1; c < last; ++c) {
    const VF m = hn::Set(d, p.m[gptq_m_offset(c / kColumnGroup) + column * kColumnGroup + c % kColumnGroup]);
    float* value = p.value + (c - p.begin) * kPanel + lane;
    for (int64_t i = 0; i < kPruneRows; i += kLanes)
      hn::Store(hn::MulAdd(m, hn::Load(d, error + i), hn::Load(d, value + i)), d, value + i);
  }
}

void prune_rows(const PrunePanel& p, int64_t lane) {
  const int64_t run = prune_run(p.group);
  for (int64_t first = p.begin; first < p.end; first += run) {
    const int64_t last = std::min(first + run, p.end);
    gather_columns(p, lane, p.begin, first, first, last);
    for (int64_t column = first; column < last; ++column) {
      if (p.group > 0 && (column - p.begin) % p.group == 0 && column + p.group <= p.end) choose_kept(p, column, lane);
      prune_column(p, column, last, lane);
    }
  }
}

}  // namespace

void prune_gather(const PrunePanel& p) {
  std::copy(p.weight_error + p.begin * kPanel, p.weight_error + p.end * kPanel, p.value);
  for (int64_t lane = 0; lane < kPanel; lane += kPruneRows) gather_columns(p, lane, 0, p.begin, p.begin, p.end);
}

void prune_panel(const PrunePanel& p) {
  for (int64_t lane = 0; lane < kPanel; lane += kPruneRows) prune_rows(p, lane);
}

}  // namespace HWY_NAMESPACE
}  // namespace swage::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace swage::kernels {
HWY_EXPORT(prune_gather);
HWY_EXPORT(prune_panel);
void prune_gather_fast(const PrunePanel& panel) { HWY_DYNAMIC_DISPATCH(prune_gather)(panel); }
void prune_panel_fast(const PrunePanel& panel) { HWY_DYNAMIC_DISPATCH(prune_panel)(panel); }
}  // namespace swage::kernels
#endif
