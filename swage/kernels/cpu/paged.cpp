// Products and attention by rows: every sum has a vector of its own, whatever rows are computed beside it; tiles of
// rows share what is loaded and nothing else.
#include "swage/kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "swage/kernels/cpu/paged.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "swage/kernels/cpu/matrix_rows-inl.h"
#include "swage/kernels/cpu/rounding-inl.h"
#include "swage/kernels/cpu/versions.h"

HWY_BEFORE_NAMESPACE();
namespace swage::kernels {
namespace HWY_NAMESPACE {
namespace {

inline constexpr int kDotRows = HWY_ARCH_X86 && HWY_TARGET > HWY_AVX3 ? 3 : 6;  // times 4 outputs: sums in registers
inline constexpr int64_t kDotOutputs = 64;  // whose weights stay in the cache while all rows meet them

HWY_INLINE void put(const DotRows& p, int64_t row, int64_t output, VF sum, float rest) {
  const DF d;
  float value = hn::GetLane(hn::SumOfLanes(d, sum)) + rest;
  if (p.bias != nullptr) value += p.bias[output];
  float& out = p.out[row * p.out_stride + output];
  out = p.add ? out + value : value;
}

HWY_INLINE float rest_of(const float* x, const float* w, int64_t first, int64_t end) {
  float sum = 0;
  for (int64_t i = first; i < end; ++i) sum += x[i] * w[i];
  return sum;
}

// kRows rows with the outputs o to o + 3.
template <int kRows>
HWY_INLINE void four_outputs(const DotRows& p, int64_t row, int64_t o) {
  const DF d;
  const int64_t columns = p.columns, stride = p.x_stride, whole = columns / kLanes * kLanes;
  const float *x = p.x + row * stride, *w = p.weight + o * columns;
#define SWAGE_DECLARE(r) VF s##r##0 = hn::Zero(d), s##r##1 = hn::Zero(d), s##r##2 = hn::Zero(d), s##r##3 = hn::Zero(d);
  SWAGE_EACH_ROW(SWAGE_DECLARE)
#undef SWAGE_DECLARE
  for (int64_t i = 0; i < whole; i += kLanes) {
    const VF w0 = hn::LoadU(d, w + i), w1 = hn::LoadU(d, w + columns + i), w2 = hn::LoadU(d, w + 2 * columns + i),
             w3 = hn::LoadU(d, w + 3 * columns + i);
#define SWAGE_STEP(r)                              \
  if constexpr (r < kRows) {                       \
    const VF v = hn::LoadU(d, x + r * stride + i); \
    s##r##0 = hn::MulAdd(v, w0, s##r##0);          \
    s##r##1 = hn::MulAdd(v, w1, s##r##1);          \
    s##r##2 = hn::MulAdd(v, w2, s##r##2);          \
    s##r##3 = hn::MulAdd(v, w3, s##r##3);          \
  }
    SWAGE_EACH_ROW(SWAGE_STEP)
#undef SWAGE_STEP
  }
#define SWAGE_PUT(r)                                                                           \
  if constexpr (r < kRows) {                                                                   \
    put(p, row + r, o, s##r##0, rest_of(x + r * stride, w, whole, columns));                   \
    put(p, row + r, o + 1, s##r##1, rest_of(x + r * stride, w + columns, whole, columns));     \
    put(p, row + r, o + 2, s##r##2, rest_of(x + r * stride, w + 2 * columns, whole, columns)); \
    put(p, row + r, o + 3, s##r##3, rest_of(x + r * stride, w + 3 * columns, whole, columns)); \
  }
  SWAGE_EACH_ROW(SWAGE_PUT)
#undef SWAGE_PUT
}

HWY_INLINE void one_output(const DotRows& p, int64_t row, int64_t o) {
  const DF d;
  const int64_t columns = p.columns, whole = columns / kLanes * kLanes;
  const float *x = p.x + row * p.x_stride, *w = p.weight + o * columns;
  VF sum = hn::Zero(d);
  for (int64_t i = 0; i < whole; i += kLanes) sum = hn::MulAdd(hn::LoadU(d, x + i), hn::LoadU(d, w + i), sum);
  put(p, row, o, sum, rest_of(x, w, whole, columns));
}

template <int kRows>
HWY_NOINLINE void some_dots(const DotRows& p, int64_t row, int64_t first, int64_t end) {
  int64_t o = first;
  for (; o + 4 <= end; o += 4) four_outputs<kRows>(p, row, o);
  for (; o < end; ++o) {
    for (int r = 0; r < kRows; ++r) one_output(p, row + r, o);
  }
}

// kLanes numbers of a cache's block, codes as they are.
template <CacheFormat kFormat>
HWY_INLINE VF load_cached_v(const void* data, int64_t i) {
  const DF d;
  if constexpr (kFormat == CacheFormat::Int8) {
    const hn::Rebind<int8_t, DF> d8;
    const hn::RebindToSigned<DF> di;
    return hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(d8, static_cast<const int8_t*>(data) + i)));
  } else if constexpr (kFormat == CacheFormat::E4M3) {
    // Exponent and mantissa where those of a float lie are 2^-120 of the value, also of subnormal ones.
    const hn::Rebind<uint8_t, DF> d8;
    const hn::RebindToUnsigned<DF> du;
    const auto code = hn::PromoteTo(du, hn::LoadU(d8, static_cast<const uint8_t*>(data) + i));
    const auto sign = hn::ShiftLeft<24>(hn::And(code, hn::Set(du, 0x80u)));
    const auto rest = hn::ShiftLeft<20>(hn::And(code, hn::Set(du, 0x7Fu)));
    return hn::Mul(hn::BitCast(d, hn::Or(sign, rest)), hn::Set(d, 0x1p120f));
  } else {
    constexpr NumberFormat kNumbers = kFormat == CacheFormat::BF16  ? NumberFormat::BF16
                                      : kFormat == CacheFormat::F16 ? NumberFormat::F16
                                                                    : NumberFormat::F32;
    return load_as_float_v<kNumbers>(data, i);
  }
}

template <CacheFormat kFormat>
float load_cached(const void* data, int64_t i) {
  if constexpr (kFormat == CacheFormat::Int8) return decode_code(CodeKind::Int, static_cast<const uint8_t*>(data)[i]);
  if constexpr (kFormat == CacheFormat::E4M3) return decode_code(CodeKind::E4M3, static_cast<const uint8_t*>(data)[i]);
  if constexpr (kFormat == CacheFormat::BF16) return load_as_float(data, NumberFormat::BF16, i);
  if constexpr (kFormat == CacheFormat::F16) return load_as_float(data, NumberFormat::F16, i);
  return load_as_float(data, NumberFormat::F32, i);
}

template <CacheFormat kFormat, int kRows>
HWY_INLINE void some_scores(const BlockScores& p, int64_t row) {
  const DF d;
  const float* query = p.query + row * p.size;
  for (int64_t lane = 0; lane < kBlockTokens; lane += kLanes) {
#define SWAGE_DECLARE(r) VF s##r = hn::Zero(d);
    SWAGE_EACH_ROW(SWAGE_DECLARE)
#undef SWAGE_DECLARE
    for (int64_t e = 0; e < p.size; ++e) {
      const VF key = load_cached_v<kFormat>(p.keys, e * kBlockTokens + lane);
#define SWAGE_STEP(r) \
  if constexpr (r < kRows) s##r = hn::MulAdd(hn::Set(d, query[r * p.size + e]), key, s##r);
      SWAGE_EACH_ROW(SWAGE_STEP)
#undef SWAGE_STEP
    }
    if constexpr (has_scales(kFormat)) {
      const VF scales = hn::LoadU(d, p.scales + lane);
#define SWAGE_SCALE(r) \
  if constexpr (r < kRows) s##r = hn::Mul(s##r, scales);
      SWAGE_EACH_ROW(SWAGE_SCALE)
#undef SWAGE_SCALE
    }
#define SWAGE_PUT(r) \
  if constexpr (r < kRows) hn::StoreU(s##r, d, p.scores + (row + r) * p.scores_stride + lane);
    SWAGE_EACH_ROW(SWAGE_PUT)
#undef SWAGE_PUT
  }
}

template <CacheFormat kFormat>
void scores_of(const BlockScores& p) {
  int64_t row = 0;
  for (; row + kBlockRows <= p.rows; row += kBlockRows) some_scores<kFormat, kBlockRows>(p, row);
  if (row + 4 <= p.rows) some_scores<kFormat, 4>(p, row), row += 4;
  if (row + 3 == p.rows) return some_scores<kFormat, 3>(p, row);
  if (row + 2 == p.rows) return some_scores<kFormat, 2>(p, row);
  if (row + 1 == p.rows) return some_scores<kFormat, 1>(p, row);
}

template <CacheFormat kFormat, int kRows>
HWY_INLINE void some_values(const BlockValues& p, int64_t row) {
  const DF d;
  const float* weights = p.weights + row * p.weights_stride;
  float* out = p.out + row * p.size;
  const auto weight_of = [&](int64_t r, int64_t j) HWY_ATTR {
    const float weight = weights[r * p.weights_stride + j];
    return has_scales(kFormat) ? weight * p.scales[j] : weight;
  };
  const int64_t whole = p.size / kLanes * kLanes;
  for (int64_t v = 0; v < whole; v += kLanes) {
#define SWAGE_DECLARE(r) \
  VF s##r = hn::Zero(d); \
  if constexpr (r < kRows) s##r = hn::LoadU(d, out + r * p.size + v);
    SWAGE_EACH_ROW(SWAGE_DECLARE)
#undef SWAGE_DECLARE
    for (int64_t j = p.first; j < p.end; ++j) {
      const VF value = load_cached_v<kFormat>(p.values, j * p.size + v);
#define SWAGE_STEP(r) \
  if constexpr (r < kRows) s##r = hn::MulAdd(hn::Set(d, weight_of(r, j)), value, s##r);
      SWAGE_EACH_ROW(SWAGE_STEP)
#undef SWAGE_STEP
    }
#define SWAGE_PUT(r) \
  if constexpr (r < kRows) hn::StoreU(s##r, d, out + r * p.size + v);
    SWAGE_EACH_ROW(SWAGE_PUT)
#undef SWAGE_PUT
  }
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t v = whole; v < p.size; ++v) {
      float sum = out[r * p.size + v];
      for (int64_t j = p.first; j < p.end; ++j) sum += weight_of(r, j) * load_cached<kFormat>(p.values, j * p.size + v);
      out[r * p.size + v] = sum;
    }
  }
}

template <CacheFormat kFormat>
void values_of(const BlockValues& p) {
  int64_t row = 0;
  for (; row + kBlockRows <= p.rows; row += kBlockRows) some_values<kFormat, kBlockRows>(p, row);
  if (row + 4 <= p.rows) some_values<kFormat, 4>(p, row), row += 4;
  if (row + 3 == p.rows) return some_values<kFormat, 3>(p, row);
  if (row + 2 == p.rows) return some_values<kFormat, 2>(p, row);
  if (row + 1 == p.rows) return some_values<kFormat, 1>(p, row);
}

}  // namespace

void dot_rows(const DotRows& p) {
  for (int64_t first = 0; first < p.outputs; first += kDotOutputs) {
    const int64_t end = HWY_MIN(p.outputs, first + kDotOutputs);
    int64_t row = 0;
    for (; row + kDotRows <= p.rows; row += kDotRows) some_dots<kDotRows>(p, row, first, end);
    for (; row + 2 <= p.rows; row += 2) some_dots<2>(p, row, first, end);
    if (row < p.rows) some_dots<1>(p, row, first, end);
  }
}

// `of` has a version for each format.
template <class Of>
void by_format(CacheFormat format, const Of& of) {
  switch (format) {
    case CacheFormat::F32:
      return of.template operator()<CacheFormat::F32>();
    case CacheFormat::BF16:
      return of.template operator()<CacheFormat::BF16>();
    case CacheFormat::F16:
      return of.template operator()<CacheFormat::F16>();
    case CacheFormat::Int8:
      return of.template operator()<CacheFormat::Int8>();
    case CacheFormat::E4M3:
      return of.template operator()<CacheFormat::E4M3>();
  }
}

void block_scores(const BlockScores& p) {
  by_format(p.format, [&]<CacheFormat kFormat>() { scores_of<kFormat>(p); });
}

void block_values(const BlockValues& p) {
  by_format(p.format, [&]<CacheFormat kFormat>() { values_of<kFormat>(p); });
}

}  // namespace HWY_NAMESPACE
}  // namespace swage::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace swage::kernels {
HWY_EXPORT(dot_rows);
HWY_EXPORT(block_scores);
HWY_EXPORT(block_values);
void dot_rows_fast(const DotRows& p) { HWY_DYNAMIC_DISPATCH(dot_rows)(p); }
void block_scores_fast(const BlockScores& p) { HWY_DYNAMIC_DISPATCH(block_scores)(p); }
void block_values_fast(const BlockValues& p) { HWY_DYNAMIC_DISPATCH(block_values)(p); }
}  // namespace swage::kernels
#endif
