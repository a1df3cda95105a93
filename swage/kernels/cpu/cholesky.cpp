// One tile of an upper Cholesky factor in f64: register blocks of 8 x 24 (AVX-512) as in gram.cpp, then the triangular
// solve.
#include "swage/kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "swage/kernels/cpu/cholesky.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "swage/kernels/cpu/matrix_rows-inl.h"
#include "swage/kernels/cpu/versions.h"

HWY_BEFORE_NAMESPACE();
namespace swage::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
namespace {

using DD = hn::CappedTag<double, 8>;
using VD = hn::Vec<DD>;
inline constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(DD()));
inline constexpr int64_t kDepth = 256;  // rows of the factor whose two panels (98 KB each) stay in the L2 cache

// The next kDepth rows of b are fetched into the L2 cache meanwhile: they have 6 lines a row, and at AVX-512 12 blocks
// use a row.
inline constexpr int64_t kLineDoubles = 8, kRowsPerLine = 2;

// tile[r][0 .. 3*kLanes) -= sum over depth of a[r] * b[...]; everything steps kPanel doubles per row.
HWY_NOINLINE void block(const double* HWY_RESTRICT a, const double* HWY_RESTRICT b, int64_t depth, const double* ahead,
                        double* tile) {
  const DD d;
#define SWAGE_DECLARE(r)                                                       \
  VD s##r##0 = hn::Load(d, tile + (r < kBlockRows ? r : 0) * kPanel);          \
  VD s##r##1 = hn::Load(d, tile + (r < kBlockRows ? r : 0) * kPanel + kLanes); \
  VD s##r##2 = hn::Load(d, tile + (r < kBlockRows ? r : 0) * kPanel + 2 * kLanes);
  SWAGE_EACH_ROW(SWAGE_DECLARE)
#undef SWAGE_DECLARE
  for (int64_t k = 0; k < depth; ++k, a += kPanel, b += kPanel) {
    if (k % kRowsPerLine == 0) __builtin_prefetch(ahead + k / kRowsPerLine * kLineDoubles, 0, 2);
    const VD b0 = hn::Load(d, b);
    const VD b1 = hn::Load(d, b + kLanes);
    const VD b2 = hn::Load(d, b + 2 * kLanes);
#define SWAGE_STEP(r)                        \
  if constexpr (r < kBlockRows) {            \
    const VD x = hn::Set(d, a[r]);           \
    s##r##0 = hn::NegMulAdd(x, b0, s##r##0); \
    s##r##1 = hn::NegMulAdd(x, b1, s##r##1); \
    s##r##2 = hn::NegMulAdd(x, b2, s##r##2); \
  }
    SWAGE_EACH_ROW(SWAGE_STEP)
#undef SWAGE_STEP
  }
#define SWAGE_FLUSH(r)                                     \
  if constexpr (r < kBlockRows) {                          \
    hn::Store(s##r##0, d, tile + r * kPanel);              \
    hn::Store(s##r##1, d, tile + r * kPanel + kLanes);     \
    hn::Store(s##r##2, d, tile + r * kPanel + 2 * kLanes); \
  }
  SWAGE_EACH_ROW(SWAGE_FLUSH)
#undef SWAGE_FLUSH
}

void solve(const double* u, double* tile) {
  const DD d;
  for (int64_t k = 0; k < kPanel; ++k) {
    const VD inverse = hn::Set(d, 1.0 / u[k * kPanel + k]);
    for (int64_t c = 0; c < kPanel; c += kLanes) {
      const VD row = hn::Mul(hn::Load(d, tile + k * kPanel + c), inverse);
      hn::Store(row, d, tile + k * kPanel + c);
      for (int64_t r = k + 1; r < kPanel; ++r) {
        double* to = tile + r * kPanel + c;
        hn::Store(hn::NegMulAdd(hn::Set(d, u[k * kPanel + r]), row, hn::Load(d, to)), d, to);
      }
    }
  }
}

}  // namespace

void cholesky_tile(const CholeskyTile& tile) {
  for (int64_t k = 0; k < tile.depth; k += kDepth) {
    const int64_t depth = HWY_MIN(kDepth, tile.depth - k);
    const double* ahead =
        tile.b + HWY_MIN(k + kDepth, tile.depth) * kPanel;  // at the end: what lies behind b, harmless
    for (int64_t c = 0; c < kPanel; c += 3 * kLanes) {
      for (int64_t r = 0; r < kPanel; r += kBlockRows, ahead += kDepth / kRowsPerLine * kLineDoubles) {
        block(tile.a + k * kPanel + r, tile.b + k * kPanel + c, depth, ahead, tile.tile + r * kPanel + c);
      }
    }
  }
  if (tile.diagonal != nullptr) solve(tile.diagonal, tile.tile);
}

}  // namespace HWY_NAMESPACE
}  // namespace swage::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace swage::kernels {
HWY_EXPORT(cholesky_tile);
void cholesky_tile_fast(const CholeskyTile& tile) { HWY_DYNAMIC_DISPATCH(cholesky_tile)(tile); }
}  // namespace swage::kernels
#endif
