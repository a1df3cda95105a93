// Products on packed codes: one load of 64 bytes is 16 rows x 8 columns of four bits, whose halves meet four codes of
// each plane of the activations in every lane. AVX-512 VNNI multiplies and adds four bytes a lane in one instruction,
// AVX2 in two. Also what splits activations into planes, and the product with rows of plain numbers.
#define SWAGE_WITH_DOT_PRODUCTS
#include "swage/kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "swage/kernels/cpu/packed_product.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cstring>

#include "swage/kernels/cpu/largest-inl.h"
#include "swage/kernels/cpu/rounding-inl.h"
#include "swage/kernels/cpu/versions.h"

// clang-format off: they need what stands above
#include "swage/kernels/cpu/packed_avx2-inl.h"
#include "swage/kernels/cpu/packed_vnni-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace swage::kernels {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
void packed_product(const PackedProduct& p) {
#if HWY_TARGET == HWY_AVX3_DL
  constexpr int64_t kWorthTiles = 8;  // rows: with fewer most of a tile is empty
  if (p.rows >= kWorthTiles && multiplies_tiles()) return packed_product_tiles(p);
#endif
  for (int64_t panel = 0; panel * kPackedRows < p.outputs; ++panel) {
    if (p.kind == PackedCode::U4) all_rows<PackedCode::U4>(p, panel);
    if (p.kind == PackedCode::E2M1) all_rows<PackedCode::E2M1>(p, panel);
    if (p.kind == PackedCode::U8) all_rows<PackedCode::U8>(p, panel);
  }
}
#else
void packed_product(const PackedProduct& p) { plain_kernels().packed_product(p); }
#endif

#if HWY_TARGET != HWY_SCALAR
namespace {

// Scale of one block, NaN if a value is not finite; `inverse` is 0 then.
HWY_INLINE float scale_of(const float* x, int64_t count, float& inverse) {
  float bad = 0;
  const float largest = largest_of(x, count, bad);
  const float scale = plane_scale(largest);
  inverse = scale == 0 || bad != 0 ? 0 : 1 / scale;
  return scale + bad;
}

HWY_INLINE void split_block(const SplitBlocks& s, int64_t block, int64_t padded) {
  const DF d;
  const DI di;
  const hn::Rebind<int8_t, DI> d8;
  const float* x = s.x + block * s.block;
  int8_t *high = s.planes + 2 * block * padded, *low = high + padded;
  float inverse;
  s.scale[block] = scale_of(x, s.block, inverse);
  if (inverse == 0) {
    std::memset(high, 0, static_cast<size_t>(2 * padded));
    s.sum[block] = 0;
    return;
  }
  const VF factor = hn::Set(d, inverse);
  auto sums = hn::Zero(di);
  const auto half = hn::Set(di, 128);
  int64_t i = 0;
  for (; i + kLanes <= s.block; i += kLanes) {
    const auto code = hn::NearestInt(hn::Mul(hn::LoadU(d, x + i), factor));
    const auto upper = hn::ShiftRight<8>(hn::Add(code, half));
    hn::StoreU(hn::DemoteTo(d8, upper), d8, high + i);
    hn::StoreU(hn::DemoteTo(d8, hn::Sub(code, hn::ShiftLeft<8>(upper))), d8, low + i);
    sums = hn::Add(sums, code);
  }
  int32_t sum = hn::GetLane(hn::SumOfLanes(di, sums));
  for (; i < padded; ++i) {
    const int32_t code = i < s.block ? static_cast<int32_t>(__builtin_nearbyintf(x[i] * inverse)) : 0;
    const int32_t upper = (code + 128) >> 8;
    high[i] = static_cast<int8_t>(upper);
    low[i] = static_cast<int8_t>(code - 256 * upper);
    sum += code;
  }
  s.sum[block] = sum;
}

// The 16 parts of a sum.
inline constexpr int kVectors = 16 / kLanes;
struct Parts {
  VF v[kVectors];
};

HWY_INLINE float sum_of(const Parts& parts) {
  alignas(64) float part[16];
  const DF d;
  for (int i = 0; i < kVectors; ++i) hn::Store(parts.v[i], d, part + i * kLanes);
  const hn::Full128<float> d4;
  const auto four = hn::Add(hn::Add(hn::Load(d4, part), hn::Load(d4, part + 8)),
                            hn::Add(hn::Load(d4, part + 4), hn::Load(d4, part + 12)));
  const auto two = hn::Add(four, hn::Shuffle1032(four));
  return hn::GetLane(hn::Add(two, hn::Shuffle2301(two)));
}

template <NumberFormat kFormat, int kRows, int kOutputs>
HWY_INLINE void add_columns(const float* x, int64_t x_stride, const uint8_t* weight, int64_t row_bytes, int64_t from,
                            int64_t to, Parts (&sum)[kRows][kOutputs]) {
  const DF d;
  for (int64_t i = from; i < to; i += 16) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      VF w[kOutputs];
#pragma GCC unroll 4
      for (int o = 0; o < kOutputs; ++o) {
        if (v == 0) __builtin_prefetch(weight + (o + kOutputs) * row_bytes + i * bytes_of(kFormat), 0, 3);
        w[o] = load_as_float_v<kFormat>(weight + o * row_bytes, i + v * kLanes);
      }
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const VF value = hn::LoadU(d, x + r * x_stride + i + v * kLanes);
#pragma GCC unroll 4
        for (int o = 0; o < kOutputs; ++o) sum[r][o].v[v] = hn::MulAdd(value, w[o], sum[r][o].v[v]);
      }
    }
  }
}

// kRows rows of x with kOutputs rows of the weight.
template <NumberFormat kFormat, int kRows, int kOutputs>
HWY_NOINLINE void row_tile(const RowProduct& p, int64_t row, int64_t output) {
  const int64_t row_bytes = p.columns * bytes_of(kFormat), whole = p.columns / 16 * 16, left = p.columns - whole;
  const float* x = p.x + row * p.columns;
  const uint8_t* weight = static_cast<const uint8_t*>(p.weight) + output * row_bytes;
  Parts sum[kRows][kOutputs];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int o = 0; o < kOutputs; ++o) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum[r][o].v[v] = hn::Zero(DF());
    }
  }
  add_columns<kFormat, kRows, kOutputs>(x, p.columns, weight, row_bytes, 0, whole, sum);
  if (left > 0) {  // what is there of 16 columns, and zeros
    float last_x[kRows][16] = {};
    uint8_t last[kOutputs * 16 * bytes_of(kFormat)] = {};
    for (int r = 0; r < kRows; ++r) std::memcpy(last_x[r], x + r * p.columns + whole, size_t(left) * sizeof(float));
    for (int o = 0; o < kOutputs; ++o)
      std::memcpy(last + o * 16 * bytes_of(kFormat), weight + o * row_bytes + whole * bytes_of(kFormat),
                  size_t(left * bytes_of(kFormat)));
    add_columns<kFormat, kRows, kOutputs>(last_x[0], 16, last, 16 * bytes_of(kFormat), 0, 16, sum);
  }
  for (int r = 0; r < kRows; ++r) {
    float* out = p.out + (row + r) * p.out_stride + output;
    for (int o = 0; o < kOutputs; ++o) out[o] = p.add ? out[o] + sum_of(sum[r][o]) : sum_of(sum[r][o]);
  }
}

template <NumberFormat kFormat, int kOutputs>
HWY_INLINE void some_outputs(const RowProduct& p, int64_t output) {
  constexpr int kTogether = HWY_TARGET <= HWY_AVX3 ? 4 : 1;  // rows: 16 registers hold the sums of one
  int64_t row = 0;
  for (; row + kTogether <= p.rows; row += kTogether) row_tile<kFormat, kTogether, kOutputs>(p, row, output);
  for (; row < p.rows; ++row) row_tile<kFormat, 1, kOutputs>(p, row, output);
}

template <NumberFormat kFormat>
HWY_INLINE void all_outputs(const RowProduct& p) {
  int64_t output = 0;
  for (; output + 4 <= p.outputs; output += 4) some_outputs<kFormat, 4>(p, output);
  for (; output < p.outputs; ++output) some_outputs<kFormat, 1>(p, output);
}

}  // namespace

void split_blocks(const SplitBlocks& s) {
  const int64_t padded = padded_block(s.block);
  for (int64_t block = 0; block < s.count / s.block; ++block) split_block(s, block, padded);
}

void row_product(const RowProduct& p) {
  if (p.format == NumberFormat::BF16) return all_outputs<NumberFormat::BF16>(p);
  if (p.format == NumberFormat::F16) return all_outputs<NumberFormat::F16>(p);
  all_outputs<NumberFormat::F32>(p);
}
#else
void split_blocks(const SplitBlocks& s) { plain_kernels().split_blocks(s); }
void row_product(const RowProduct& p) { plain_kernels().row_product(p); }
#endif

}  // namespace HWY_NAMESPACE
}  // namespace swage::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace swage::kernels {
HWY_EXPORT(packed_product);
HWY_EXPORT(split_blocks);
HWY_EXPORT(row_product);
void packed_product_fast(const PackedProduct& p) { HWY_DYNAMIC_DISPATCH(packed_product)(p); }
void split_blocks_fast(const SplitBlocks& s) { HWY_DYNAMIC_DISPATCH(split_blocks)(s); }
void row_product_fast(const RowProduct& p) { HWY_DYNAMIC_DISPATCH(row_product)(p); }
}  // namespace swage::kernels
#endif
