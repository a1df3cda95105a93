// Refit of a pruned weight, one piece of columns for kPanel rows at a time: each value, or each group of N:M with its
// support, to its best given all others.
#include "swage/kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "swage/kernels/cpu/sparse_refit.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "swage/kernels/cpu/rounding-inl.h"
#include "swage/kernels/cpu/versions.h"

HWY_BEFORE_NAMESPACE();
namespace swage::kernels {
namespace HWY_NAMESPACE {
namespace {

inline constexpr int64_t kRefitRows = 3 * kLanes;

// `moved` of column j, [kRefitRows], reaches the gradients of the columns from `first` on.
HWY_INLINE void push(const SparsePanel& p, int64_t lane, int64_t j, int64_t first, const float* moved) {
  const DF d;
  const VF m0 = hn::Load(d, moved), m1 = hn::Load(d, moved + kLanes), m2 = hn::Load(d, moved + 2 * kLanes);
  const float* gram = p.gram + j * p.count;
  for (int64_t k = first; k < p.count; ++k) {
    float* gradient = p.gradient + k * kPanel + lane;
    const VF h = hn::Set(d, gram[k]);
    hn::Store(hn::NegMulAdd(m0, h, hn::Load(d, gradient)), d, gradient);
    hn::Store(hn::NegMulAdd(m1, h, hn::Load(d, gradient + kLanes)), d, gradient + kLanes);
    hn::Store(hn::NegMulAdd(m2, h, hn::Load(d, gradient + 2 * kLanes)), d, gradient + 2 * kLanes);
  }
}

// Zeros stay.
void refit_column(const SparsePanel& p, int64_t j, int64_t lane) {
  const DF d;
  HWY_ALIGN float moved[kRefitRows];
  for (int64_t i = 0; i < kRefitRows; i += kLanes) {
    const int64_t at = j * kPanel + lane + i;
    const VF old = hn::Load(d, p.value + at),
             step = hn::Mul(hn::Load(d, p.gradient + at), hn::Set(d, p.inverse_diagonal[j]));
    const VF fresh = hn::IfThenZeroElse(hn::Eq(old, hn::Zero(d)), hn::Add(old, step));
    const VF change = hn::Sub(fresh, old);
    hn::Store(fresh, d, p.value + at);
    hn::Store(change, d, p.change + at);
    hn::Store(change, d, moved + i);
  }
  push(p, lane, j, j + 1, moved);
}

// The best of all supports of one group for one vector of rows: `pull` is H times the minimiser without any constraint.
HWY_INLINE void best_support(const SparsePanel& p, const float* inverse, const VF* pull, VF* best) {
  const DF d;
  VF most = hn::Set(d, -1.0f);
  for (int64_t s = 0; s < p.supports; ++s, inverse += p.kept * p.kept) {
    const uint8_t* member = p.members + s * p.kept;
    VF x[kLongestSupport], gain = hn::Zero(d);
    for (int64_t a = 0; a < p.kept; ++a) {
      x[a] = hn::Zero(d);
      for (int64_t b = 0; b < p.kept; ++b)
        x[a] = hn::MulAdd(hn::Set(d, inverse[a * p.kept + b]), pull[member[b]], x[a]);
      gain = hn::MulAdd(x[a], pull[member[a]], gain);
    }
    const auto better = hn::Gt(gain, most);
    most = hn::IfThenElse(better, gain, most);
    for (int64_t j = 0; j < p.group; ++j) best[j] = hn::IfThenZeroElse(better, best[j]);
    for (int64_t a = 0; a < p.kept; ++a) best[member[a]] = hn::IfThenElse(better, x[a], best[member[a]]);
  }
}

void refit_group(const SparsePanel& p, int64_t first, int64_t lane) {
  const DF d;
  HWY_ALIGN float moved[kLongestSwapGroup * kRefitRows];
  const float* inverse = p.inverse + first / p.group * p.supports * p.kept * p.kept;
  for (int64_t i = 0; i < kRefitRows; i += kLanes) {
    VF old[kLongestSwapGroup], pull[kLongestSwapGroup], best[kLongestSwapGroup];
    for (int64_t j = 0; j < p.group; ++j) {
      const int64_t at = (first + j) * kPanel + lane + i;
      old[j] = hn::Load(d, p.value + at);
      pull[j] = hn::Load(d, p.gradient + at);
      best[j] = hn::Zero(d);
    }
    for (int64_t j = 0; j < p.group; ++j) {
      for (int64_t k = 0; k < p.group; ++k)
        pull[j] = hn::MulAdd(hn::Set(d, p.gram[(first + k) * p.count + first + j]), old[k], pull[j]);
    }
    best_support(p, inverse, pull, best);
    for (int64_t j = 0; j < p.group; ++j) {
      const int64_t at = (first + j) * kPanel + lane + i;
      const VF change = hn::Sub(best[j], old[j]);
      hn::Store(best[j], d, p.value + at);
      hn::Store(change, d, p.change + at);
      hn::Store(change, d, moved + j * kRefitRows + i);
    }
  }
  for (int64_t j = 0; j < p.group; ++j) push(p, lane, first + j, first + p.group, moved + j * kRefitRows);
}

}  // namespace

void sparse_refit_panel(const SparsePanel& p) {
  const int64_t step = p.group > 0 ? p.group : 1;
  for (int64_t lane = 0; lane < kPanel; lane += kRefitRows) {
    for (int64_t j = 0; j < p.count; j += step) {
      if (p.group > 0)
        refit_group(p, j, lane);
      else
        refit_column(p, j, lane);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace swage::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace swage::kernels {
HWY_EXPORT(sparse_refit_panel);
void sparse_refit_panel_fast(const SparsePanel& panel) { HWY_DYNAMIC_DISPATCH(sparse_refit_panel)(panel); }
}  // namespace swage::kernels
#endif
