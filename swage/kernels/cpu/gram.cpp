// Symmetric rank-k update of fixed-point columns: register blocks of 8 x 48 (AVX-512) int32 sums over a chunk of
// tokens, read straight from packed pairs. One instruction multiplies 32 pairs where f32 has 16.
#define SWAGE_WITH_DOT_PRODUCTS
#include "swage/kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "swage/kernels/cpu/gram.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <bit>
#include <cmath>

#include "swage/kernels/cpu/matrix_rows-inl.h"
#include "swage/kernels/cpu/pairs-inl.h"
#include "swage/kernels/cpu/rounding-inl.h"
#include "swage/kernels/cpu/versions.h"

HWY_BEFORE_NAMESPACE();
namespace swage::kernels {
namespace HWY_NAMESPACE {
namespace {

#if HWY_TARGET != HWY_SCALAR                                         // one lane holds no pair: the plain versions run
inline constexpr int64_t kPanelPairs = kGramChunk / 2 * kPanel * 2;  // int16 of one panel

// What the next chunk needs, fetched into the L2 cache while this one is multiplied: one line for two steps of a block
// is a little more than the rate at which a tile uses lines.
inline constexpr int64_t kLinePairs = 32, kStepsPerLine = 2;
class Ahead {
 public:
  // Two runs of int16, one after the other.
  Ahead(const int16_t* first, int64_t first_count, const int16_t* second, int64_t second_count)
      : now_(first),
        left_(first_count),
        second_(second),
        second_left_(second_count) {}
  // Where to start fetching `count`; null when all is fetched.
  const int16_t* take(int64_t count) {
    if (left_ <= 0) {
      now_ = second_;
      left_ = second_left_;
      second_left_ = 0;
    }
    if (left_ <= 0) return nullptr;
    const int16_t* from = now_;
    now_ += count;
    left_ -= count;
    return from;
  }

 private:
  const int16_t* now_;
  int64_t left_;
  const int16_t* second_;
  int64_t second_left_;
};

// A row of a vector of columns: the sums, exact, times both scales, which are powers of two, added to f64.
HWY_INLINE void add_to_f64(VI exact, double row_scale, const double* column_scale, double* to) {
  const hn::Half<DI> dh;
  const hn::Rebind<double, decltype(dh)> dd;
  const auto scale = hn::Set(dd, row_scale);
  const auto low = hn::PromoteTo(dd, hn::LowerHalf(dh, exact)), high = hn::PromoteTo(dd, hn::UpperHalf(dh, exact));
  const auto low_scale = hn::Mul(scale, hn::Load(dd, column_scale)),
             high_scale = hn::Mul(scale, hn::Load(dd, column_scale + kLanes / 2));
  hn::Store(hn::MulAdd(low, low_scale, hn::Load(dd, to)), dd, to);
  hn::Store(hn::MulAdd(high, high_scale, hn::Load(dd, to + kLanes / 2)), dd, to + kLanes / 2);
}

// Where a block of the result is: rows and columns of packed pairs with their scales, and its sums.
struct Block {
  const int16_t* a;
  const int16_t* b;
  const double* a_scale;
  const double* b_scale;
  double* sum;
  int64_t stride;  // of sum
};

// sum[r][0 .. kVecs*kLanes) += products over `steps` pairs of tokens; a and b step kPanel pairs.
template <int kVecs>
HWY_NOINLINE void block(const Block& p, int64_t steps, const int16_t* ahead) {
  const DI di;
  const DS ds;
  const int16_t* HWY_RESTRICT a = p.a;
  const int16_t* HWY_RESTRICT b = p.b;
#define SWAGE_DECLARE(r) VI s##r##0 = hn::Zero(di), s##r##1 = hn::Zero(di), s##r##2 = hn::Zero(di);
  SWAGE_EACH_ROW(SWAGE_DECLARE)
#undef SWAGE_DECLARE
  const int64_t line = ahead == nullptr ? 0 : kLinePairs;
  if (ahead == nullptr) ahead = a;
  for (int64_t t = 0; t < steps; ++t, a += 2 * kPanel, b += 2 * kPanel) {
    if (t % kStepsPerLine == 0) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += line;
    }
    const auto b0 = hn::Load(ds, b);
    const auto b1 = kVecs > 1 ? hn::Load(ds, b + 2 * kLanes) : b0;
    const auto b2 = kVecs > 2 ? hn::Load(ds, b + 4 * kLanes) : b0;
#define SWAGE_STEP(r)                                                     \
  if constexpr (r < kBlockRows) {                                         \
    const auto x = two_of(a + 2 * r);                                     \
    s##r##0 = add_pair_products(s##r##0, x, b0);                          \
    if constexpr (kVecs > 1) s##r##1 = add_pair_products(s##r##1, x, b1); \
    if constexpr (kVecs > 2) s##r##2 = add_pair_products(s##r##2, x, b2); \
  }
    SWAGE_EACH_ROW(SWAGE_STEP)
#undef SWAGE_STEP
  }
#define SWAGE_FLUSH(r)                                                                                   \
  if constexpr (r < kBlockRows) {                                                                        \
    double* to = p.sum + r * p.stride;                                                                   \
    add_to_f64(s##r##0, p.a_scale[r], p.b_scale, to);                                                    \
    if constexpr (kVecs > 1) add_to_f64(s##r##1, p.a_scale[r], p.b_scale + kLanes, to + kLanes);         \
    if constexpr (kVecs > 2) add_to_f64(s##r##2, p.a_scale[r], p.b_scale + 2 * kLanes, to + 2 * kLanes); \
  }
  SWAGE_EACH_ROW(SWAGE_FLUSH)
#undef SWAGE_FLUSH
}

// Three vectors of columns starting at `column`; on a diagonal panel, vectors wholly left of the diagonal are left out.
void three_vectors(const Block& panels, int64_t steps, int64_t row, int64_t column, bool diagonal, Ahead& next) {
  const int64_t first = diagonal && row > column ? (row - column) / kLanes : 0;
  if (first > 2) return;
  column += first * kLanes;
  const Block p{panels.a + 2 * row,
                panels.b + 2 * column,
                panels.a_scale + row,
                panels.b_scale + column,
                panels.sum + row * panels.stride + column,
                panels.stride};
  const int16_t* ahead = next.take(steps / kStepsPerLine * kLinePairs);
  if (first == 0) block<3>(p, steps, ahead);
  if (first == 1) block<2>(p, steps, ahead);
  if (first == 2) block<1>(p, steps, ahead);
}

void panel_pair(const Block& panels, int64_t steps, bool diagonal, Ahead& next) {
  for (int64_t column = 0; column < kPanel; column += 3 * kLanes) {
    for (int64_t row = 0; row < kPanel; row += kBlockRows) three_vectors(panels, steps, row, column, diagonal, next);
  }
}

// Columns of one vector, of which `count` are there: their factors 1 / scale, 0 where a value is not finite.
template <bool kWhole>
HWY_INLINE VF token(const GramPack& pack, int64_t t, int64_t column, int64_t count) {
  const DF d;
  const float* x = pack.x + t * pack.stride + column;
  if constexpr (kWhole) return hn::LoadU(d, x);
  alignas(64) float some[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) some[i] = x[i];
  return hn::Load(d, some);
}

template <bool kWhole>
HWY_INLINE VF scale_columns(const GramPack& pack, int64_t column, int64_t count) {
  const DF d;
  alignas(64) float squares[kLanes], factor[kLanes];
  VF sum = hn::Zero(d);
  for (int64_t t = 0; t < pack.tokens; ++t) {
    const VF x = token<kWhole>(pack, t, column, count);
    sum = hn::Add(sum, hn::Mul(x, x));
  }
  hn::Store(sum, d, squares);
  for (int64_t i = 0; i < kLanes; ++i) {
    const bool finite = squares[i] - squares[i] == 0;
    const int exponent = finite ? gram_exponent(squares[i]) : 0;
    pack.scale[column + i] = finite ? std::bit_cast<double>(static_cast<uint64_t>(exponent + 1023) << 52) : NAN;
    factor[i] = finite ? std::bit_cast<float>(static_cast<uint32_t>(127 - exponent) << 23) : 0.0f;
  }
  return hn::Load(d, factor);
}

// Codes of one token, as int32 from -2^15 to 2^15 - 1.
template <bool kWhole>
HWY_INLINE VI token_codes(const GramPack& pack, int64_t t, int64_t column, int64_t count, VF factor) {
  const DF d;
  const DI di;
  if (t >= pack.tokens) return hn::Zero(di);
  const VF x = token<kWhole>(pack, t, column, count);
  // What is not finite has the factor 0 and makes codes of 0.
  const VI code = hn::NearestInt(hn::IfThenElseZero(hn::Ne(factor, hn::Zero(d)), hn::Mul(x, factor)));
  return hn::Max(hn::Min(code, hn::Set(di, 32767)), hn::Set(di, -32768));
}
template <bool kWhole>
HWY_NOINLINE void pack_columns(const GramPack& pack, int64_t column, int64_t count, int16_t* to) {
  const DI di;
  const DS ds;
  const VF factor = scale_columns<kWhole>(pack, column, count);
  for (int64_t t = 0; t < pack.tokens; t += 2, to += 2 * kPanel) {
    const VI first = token_codes<kWhole>(pack, t, column, count, factor),
             second = token_codes<kWhole>(pack, t + 1, column, count, factor);
    const VI pairs = hn::Or(hn::And(first, hn::Set(di, 0xFFFF)), hn::ShiftLeft<16>(second));
    hn::Store(hn::BitCast(ds, pairs), ds, to);
  }
}
#endif

}  // namespace

void gram_pack(const GramPack& pack) {
#if HWY_TARGET == HWY_SCALAR
  plain_kernels().gram_pack(pack);
#else
  const int64_t width = (pack.columns + kPanel - 1) / kPanel * kPanel;
  for (int64_t column = 0; column < width; column += kLanes) {
    const int64_t count = HWY_MAX(int64_t{0}, HWY_MIN(kLanes, pack.columns - column));
    int16_t* to = static_cast<int16_t*>(pack.packed) + column / kPanel * kPanelPairs + column % kPanel * 2;
    if (count == kLanes)
      pack_columns<true>(pack, column, count, to);
    else
      pack_columns<false>(pack, column, count, to);
  }
#endif
}

void gram_tile(const GramTile& tile) {
#if HWY_TARGET == HWY_SCALAR
  plain_kernels().gram_tile(tile);
#else
  const int64_t stride = tile.column_panels * kPanel, chunk_pairs = tile.panels * kPanelPairs;
  for (int64_t t = 0; t < tile.tokens; t += kGramChunk) {
    const int64_t steps = (HWY_MIN(kGramChunk, tile.tokens - t) + 1) / 2;
    const int16_t* chunk = static_cast<const int16_t*>(tile.packed) + t / kGramChunk * chunk_pairs;
    const double* scale = tile.scale + t / kGramChunk * tile.panels * kPanel;
    const int16_t* after = chunk + chunk_pairs;
    const bool more = tile.tokens - t > kGramChunk;
    Ahead next(more ? after + tile.row_panel * kPanelPairs : chunk, more ? tile.row_panels * kPanelPairs : 0,
               more ? after + tile.column_panel * kPanelPairs : chunk, more ? tile.column_panels * kPanelPairs : 0);
    for (int64_t c = 0; c < tile.column_panels; ++c) {
      const int64_t column = tile.column_panel + c;
      for (int64_t r = 0; r < tile.row_panels; ++r) {
        const int64_t row = tile.row_panel + r;
        if (row > column) continue;
        panel_pair({chunk + row * kPanelPairs, chunk + column * kPanelPairs, scale + row * kPanel,
                    scale + column * kPanel, tile.sum + r * kPanel * stride + c * kPanel, stride},
                   steps, row == column, next);
      }
    }
  }
#endif
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
