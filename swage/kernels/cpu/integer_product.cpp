// Products of 16-bit activations and integer weight codes: register blocks of 8 x 48 (AVX-512) int32 sums over one
// block of columns, scaled and added to f32 sums in the L1 cache. One instruction multiplies 32 pairs where f32 has 16.
#define SWAGE_WITH_DOT_PRODUCTS
#include "swage/kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "swage/kernels/cpu/integer_product.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "swage/kernels/cpu/largest-inl.h"
#include "swage/kernels/cpu/matrix_rows-inl.h"
#include "swage/kernels/cpu/pairs-inl.h"
#include "swage/kernels/cpu/rounding-inl.h"
#include "swage/kernels/cpu/versions.h"

HWY_BEFORE_NAMESPACE();
namespace swage::kernels {
namespace HWY_NAMESPACE {
namespace {

#if HWY_TARGET != HWY_SCALAR  // one lane holds no pair: the plain version runs
inline constexpr int kProductRows = kBlockRows;
// Sums of kRows rows over one block of columns, times both scales, added to `out` [kRows, kPanel].
template <int kRows>
HWY_INLINE void add_block(const int16_t* HWY_RESTRICT x, int64_t columns, const int16_t* HWY_RESTRICT weight,
                          int64_t count, const float* HWY_RESTRICT x_scale, int64_t blocks,
                          const float* HWY_RESTRICT weight_scale, int64_t vector, float* HWY_RESTRICT out) {
  const DF d;
  const DI di;
  const DS ds;
#define SWAGE_DECLARE(r) VI s##r##0 = hn::Zero(di), s##r##1 = hn::Zero(di), s##r##2 = hn::Zero(di);
  SWAGE_EACH_ROW(SWAGE_DECLARE)
#undef SWAGE_DECLARE
  const int16_t* b = weight + 2 * vector;
  for (int64_t k = 0; k < count; k += 2, x += 2, b += 2 * kPanel) {
    __builtin_prefetch(b + 32 * kPanel, 0, 3);
    __builtin_prefetch(b + 32 * kPanel + 32, 0, 3);
    __builtin_prefetch(b + 32 * kPanel + 64, 0, 3);
    const auto b0 = hn::Load(ds, b), b1 = hn::Load(ds, b + 2 * kLanes), b2 = hn::Load(ds, b + 4 * kLanes);
#define SWAGE_STEP(r)                            \
  if constexpr (r < kRows) {                     \
    const auto a = two_of(x + r * columns);      \
    s##r##0 = add_pair_products(s##r##0, a, b0); \
    s##r##1 = add_pair_products(s##r##1, a, b1); \
    s##r##2 = add_pair_products(s##r##2, a, b2); \
  }
    SWAGE_EACH_ROW(SWAGE_STEP)
#undef SWAGE_STEP
  }
  const VF w0 = hn::Load(d, weight_scale), w1 = hn::Load(d, weight_scale + kLanes),
           w2 = hn::Load(d, weight_scale + 2 * kLanes);
#define SWAGE_FLUSH(r)                                                                                              \
  if constexpr (r < kRows) {                                                                                        \
    const VF scale = hn::Set(d, x_scale[r * blocks]);                                                               \
    float* to = out + r * kPanel;                                                                                   \
    hn::Store(hn::MulAdd(hn::ConvertTo(d, s##r##0), hn::Mul(scale, w0), hn::Load(d, to)), d, to);                   \
    hn::Store(hn::MulAdd(hn::ConvertTo(d, s##r##1), hn::Mul(scale, w1), hn::Load(d, to + kLanes)), d, to + kLanes); \
    hn::Store(hn::MulAdd(hn::ConvertTo(d, s##r##2), hn::Mul(scale, w2), hn::Load(d, to + 2 * kLanes)), d,           \
              to + 2 * kLanes);                                                                                     \
  }
  SWAGE_EACH_ROW(SWAGE_FLUSH)
#undef SWAGE_FLUSH
}

template <int kRows>
HWY_NOINLINE void some_rows(const IntegerProduct& p, int64_t row) {
  alignas(64) float sum[kRows * kPanel] = {};
  const int64_t blocks = p.columns / p.block;
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t first = block * p.block;
    for (int64_t vector = 0; vector < kPanel; vector += 3 * kLanes) {
      add_block<kRows>(p.x + row * p.columns + first, p.columns, p.weight + first * kPanel, p.block,
                       p.x_scale + row * blocks + block, blocks, p.weight_scale + block * kPanel + vector, vector,
                       sum + vector);
    }
  }
  const DF d;
  for (int64_t r = 0; r < kRows; ++r) {
    const float* from = sum + r * kPanel;
    float* out = p.out + (row + r) * p.out_stride;
    int64_t o = 0;
    for (; o + kLanes <= p.outputs; o += kLanes) {
      const VF value = hn::Load(d, from + o);
      hn::StoreU(p.add ? hn::Add(value, hn::LoadU(d, out + o)) : value, d, out + o);
    }
    for (; o < p.outputs; ++o) out[o] = p.add ? out[o] + from[o] : from[o];
  }
}
#endif

// Codes of one block; returns its scale.
HWY_INLINE float quantize_block(const float* HWY_RESTRICT x, int64_t count, int16_t* HWY_RESTRICT codes) {
  const DF d;
  const hn::Rebind<int16_t, DI> d16;
  float bad = 0;
  const float largest = largest_of(x, count, bad);
  const float scale = block_scale(largest), inverse = scale == 0 ? 0 : 1 / scale;
  const VF factor = hn::Set(d, inverse);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    hn::StoreU(hn::DemoteTo(d16, hn::NearestInt(hn::Mul(hn::LoadU(d, x + i), factor))), d16, codes + i);
  }
  for (; i < count; ++i) codes[i] = block_code(x[i], inverse);
  return scale + bad;
}

// TruncateTo would do, but this version of Highway takes the wrong bytes with AVX3_DL.
HWY_INLINE void split_bytes(const int16_t* HWY_RESTRICT codes, int64_t count, uint8_t* HWY_RESTRICT low,
                            uint8_t* HWY_RESTRICT high) {
  const hn::Rebind<int16_t, DI> d16;
  const hn::Rebind<uint8_t, DI> d8;
  const hn::Rebind<int8_t, DI> signed8;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const auto both = hn::LoadU(d16, codes + i);
    hn::StoreU(hn::DemoteTo(d8, hn::And(both, hn::Set(d16, 255))), d8, low + i);
    hn::StoreU(hn::DemoteTo(signed8, hn::ShiftRight<8>(both)), signed8, reinterpret_cast<int8_t*>(high) + i);
  }
  for (; i < count; ++i) {
    low[i] = static_cast<uint8_t>(codes[i] & 255);
    high[i] = static_cast<uint8_t>(codes[i] >> 8);
  }
}

}  // namespace

void integer_product(const IntegerProduct& p) {
#if HWY_TARGET == HWY_SCALAR
  plain_kernels().integer_product(p);
#else
  int64_t row = 0;
  for (; row + kProductRows <= p.rows; row += kProductRows) some_rows<kProductRows>(p, row);
  for (; row < p.rows; ++row) some_rows<1>(p, row);
#endif
}

void quantize_blocks(const QuantizeBlocks& q) {
  for (int64_t block = 0; block < q.count / q.block; ++block)
    q.scale[block] = quantize_block(q.x + block * q.block, q.block, q.codes + block * q.block);
}

void quantize_planes(const QuantizePlanes& q) {
  const int64_t step = tile_step(q.block), blocks = q.columns / q.block, plane = kTileRows * step;
  alignas(64) int16_t codes[kLongestBlock];
  for (int64_t r = 0; r < q.rows; ++r) {
    uint8_t* to = q.planes + r / kTileRows * kTileRows * 2 * q.columns + r % kTileRows * step;
    for (int64_t block = 0; block < blocks; ++block) {
      q.scale[plane_scale(r, block, blocks)] = quantize_block(q.x + r * q.columns + block * q.block, q.block, codes);
      for (int64_t first = 0; first < q.block; first += step, to += 2 * plane)
        split_bytes(codes + first, step, to, to + plane);
    }
  }
}

const char* target_name() { return hwy::TargetName(HWY_TARGET); }
bool has_pair_products() { return HWY_TARGET == HWY_AVX3_DL; }

}  // namespace HWY_NAMESPACE
}  // namespace swage::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace swage::kernels {
HWY_EXPORT(integer_product);
HWY_EXPORT(quantize_blocks);
HWY_EXPORT(quantize_planes);
void integer_product_fast(const IntegerProduct& p) { HWY_DYNAMIC_DISPATCH(integer_product)(p); }
HWY_EXPORT(target_name);
HWY_EXPORT(has_pair_products);
bool runs_pair_products() { return HWY_DYNAMIC_DISPATCH(has_pair_products)(); }
const char* instruction_set() { return multiplies_tiles() ? "AVX3_DL AMX" : HWY_DYNAMIC_DISPATCH(target_name)(); }
void quantize_blocks_fast(const QuantizeBlocks& q) { HWY_DYNAMIC_DISPATCH(quantize_blocks)(q); }
void quantize_planes_fast(const QuantizePlanes& q) { HWY_DYNAMIC_DISPATCH(quantize_planes)(q); }
}  // namespace swage::kernels
#endif
