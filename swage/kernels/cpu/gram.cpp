// Symmetric rank-k update: register blocks of 8 x 48 (AVX-512) sums, read straight from packed columns.
#include "swage/kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "swage/kernels/cpu/gram.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "swage/kernels/cpu/matrix_rows-inl.h"
#include "swage/kernels/cpu/rounding-inl.h"
#include "swage/kernels/cpu/versions.h"

HWY_BEFORE_NAMESPACE();
namespace swage::kernels {
namespace HWY_NAMESPACE {
namespace {

HWY_INLINE void add_to_f64(VF sum, double* to) {
#if HWY_TARGET == HWY_SCALAR
  *to += static_cast<double>(sum.raw);
#else
  const hn::Half<DF> dh;
  const hn::Rebind<double, decltype(dh)> dd;
  const auto low = hn::PromoteTo(dd, hn::LowerHalf(dh, sum));
  const auto high = hn::PromoteTo(dd, hn::UpperHalf(dh, sum));
  hn::Store(hn::Add(hn::Load(dd, to), low), dd, to);
  hn::Store(hn::Add(hn::Load(dd, to + kLanes / 2), high), dd, to + kLanes / 2);
#endif
}

// What the next chunk needs, fetched into the L2 cache while this one is multiplied: one line for two tokens of a block
// is a little more than the rate at which a tile uses lines.
inline constexpr int64_t kLineFloats = 16, kTokensPerLine = 2;
class Ahead {
 public:
  // Two runs of floats, one after the other.
  Ahead(const float* first, int64_t first_count, const float* second, int64_t second_count)
      : now_(first),
        left_(first_count),
        second_(second),
        second_left_(second_count) {}
  // Where to start fetching `floats`; null when all is fetched.
  const float* take(int64_t floats) {
    if (left_ <= 0) {
      now_ = second_;
      left_ = second_left_;
      second_left_ = 0;
    }
    if (left_ <= 0) return nullptr;
    const float* from = now_;
    now_ += floats;
    left_ -= floats;
    return from;
  }

 private:
  const float* now_;
  int64_t left_;
  const float* second_;
  int64_t second_left_;
};

// sum[r][0 .. kVecs*kLanes) += sum over tokens of a[r] * b[...]; a and b step kPanel floats per token.
template <int kVecs>
HWY_NOINLINE void block(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, int64_t tokens, double* sum,
                        int64_t stride, const float* ahead) {
  const DF d;
#define SWAGE_DECLARE(r) VF s##r##0 = hn::Zero(d), s##r##1 = hn::Zero(d), s##r##2 = hn::Zero(d);
  SWAGE_EACH_ROW(SWAGE_DECLARE)
#undef SWAGE_DECLARE
  const int64_t line = ahead == nullptr ? 0 : kLineFloats;
  if (ahead == nullptr) ahead = a;
  for (int64_t t = 0; t < tokens; ++t, a += kPanel, b += kPanel) {
    if (t % kTokensPerLine == 0) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += line;
    }
    const VF b0 = hn::Load(d, b);
    const VF b1 = kVecs > 1 ? hn::Load(d, b + kLanes) : b0;
    const VF b2 = kVecs > 2 ? hn::Load(d, b + 2 * kLanes) : b0;
#define SWAGE_STEP(r)                                              \
  if constexpr (r < kBlockRows) {                                  \
    const VF x = hn::Set(d, a[r]);                                 \
    s##r##0 = hn::MulAdd(x, b0, s##r##0);                          \
    if constexpr (kVecs > 1) s##r##1 = hn::MulAdd(x, b1, s##r##1); \
    if constexpr (kVecs > 2) s##r##2 = hn::MulAdd(x, b2, s##r##2); \
  }
    SWAGE_EACH_ROW(SWAGE_STEP)
#undef SWAGE_STEP
  }
#define SWAGE_FLUSH(r)                                                           \
  if constexpr (r < kBlockRows) {                                                \
    add_to_f64(s##r##0, sum + r * stride);                                       \
    if constexpr (kVecs > 1) add_to_f64(s##r##1, sum + r * stride + kLanes);     \
    if constexpr (kVecs > 2) add_to_f64(s##r##2, sum + r * stride + 2 * kLanes); \
  }
  SWAGE_EACH_ROW(SWAGE_FLUSH)
#undef SWAGE_FLUSH
}

// Three vectors of columns starting at `column`; on a diagonal panel, vectors wholly left of the diagonal are left out.
void three_vectors(const float* a, const float* b, int64_t tokens, int64_t row, int64_t column, bool diagonal,
                   double* sum, int64_t stride, Ahead& next) {
  const int64_t first = diagonal && row > column ? (row - column) / kLanes : 0;
  a += row;
  b += column + first * kLanes;
  sum += row * stride + column + first * kLanes;
  if (first > 2) return;
  const float* ahead = next.take(tokens / kTokensPerLine * kLineFloats);
  if (first == 0) block<3>(a, b, tokens, sum, stride, ahead);
  if (first == 1) block<2>(a, b, tokens, sum, stride, ahead);
  if (first == 2) block<1>(a, b, tokens, sum, stride, ahead);
}

void panel_pair(const float* a, const float* b, int64_t tokens, bool diagonal, double* sum, int64_t stride,
                Ahead& next) {
  for (int64_t column = 0; column < kPanel; column += 3 * kLanes) {
    for (int64_t row = 0; row < kPanel; row += kBlockRows)
      three_vectors(a, b, tokens, row, column, diagonal, sum, stride, next);
  }
}

}  // namespace

void gram_pack(const GramPack& pack) {
  const DF d;
  const int64_t whole = pack.columns / kPanel, rest = pack.columns % kPanel;
  for (int64_t t = 0; t < pack.tokens; ++t) {
    const float* from = pack.x + t * pack.columns;
    float* to = pack.packed + t * kPanel;
    for (int64_t p = 0; p < whole; ++p, from += kPanel, to += kGramChunk * kPanel) {
      for (int64_t i = 0; i < kPanel; i += kLanes) hn::Store(hn::LoadU(d, from + i), d, to + i);
    }
    if (rest == 0) continue;
    for (int64_t i = 0; i < kPanel; ++i) to[i] = i < rest ? from[i] : 0.0f;
  }
}

void gram_tile(const GramTile& tile) {
  const int64_t stride = tile.column_panels * kPanel;
  const int64_t panel_floats = kGramChunk * kPanel;
  for (int64_t t = 0; t < tile.tokens; t += kGramChunk) {
    const int64_t tokens = HWY_MIN(kGramChunk, tile.tokens - t);
    const float* chunk = tile.packed + t / kGramChunk * tile.panels * panel_floats;
    const float* after = chunk + tile.panels * panel_floats;
    const int64_t next_floats = HWY_MIN(kGramChunk, HWY_MAX(int64_t{0}, tile.tokens - t - kGramChunk)) * kPanel;
    Ahead next(next_floats == 0 ? chunk : after + tile.row_panel * panel_floats,
               next_floats == 0 ? 0 : tile.row_panels * panel_floats,
               next_floats == 0 ? chunk : after + tile.column_panel * panel_floats,
               next_floats == 0 ? 0 : tile.column_panels * panel_floats);
    for (int64_t c = 0; c < tile.column_panels; ++c) {
      const float* b = chunk + (tile.column_panel + c) * panel_floats;
      for (int64_t r = 0; r < tile.row_panels; ++r) {
        const int64_t ahead = tile.column_panel + c - (tile.row_panel + r);
        if (ahead < 0) continue;
        const float* a = chunk + (tile.row_panel + r) * panel_floats;
        panel_pair(a, b, tokens, ahead == 0, tile.sum + r * kPanel * stride + c * kPanel, stride, next);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace swage::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace swage::kernels {
HWY_EXPORT(gram_pack);
HWY_EXPORT(gram_tile);
void gram_pack_fast(const GramPack& pack) { HWY_DYNAMIC_DISPATCH(gram_pack)(pack); }
void gram_tile_fast(const GramTile& tile) { HWY_DYNAMIC_DISPATCH(gram_tile)(tile); }
}  // namespace swage::kernels
#endif
