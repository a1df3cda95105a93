// The kernels of rows: plain loops compiled once per vector width and picked at load time. Sums keep 16 partial sums,
// so that every width adds in the same order. Builtins instead of <cmath> and <bit>: functions of other settings are
// not inlined here.
#include "swage/kernels/rows.h"

#include <cmath>

#include "swage/kernels/cpu/versions.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define SWAGE_ROWS \
  __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3", "no-trapping-math", "fp-contract=off")))
#else
#define SWAGE_ROWS
#endif

namespace swage::kernels {
namespace {

constexpr int64_t kLanes = kRowLanes;
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));
// Adding 1.5 * 2^23 leaves a float's integer part in its low bits, rounded to nearest even.
constexpr float kRound = 12582912.0f;

// exp(x) within 2 ulp for |x| <= 87, clamped beyond: exp(n ln2 + r) = 2^n * p(r), |r| <= ln2 / 2.
inline __attribute__((always_inline)) float exponential(float x) {
  x = x > 87.0f ? 87.0f : x;
  x = x < -87.0f ? -87.0f : x;
  const float shifted = x * 1.44269504f + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  return p * __builtin_bit_cast(float, (__builtin_bit_cast(int32_t, shifted) + 127) << 23);
}

// Nearest float8_e4m3 of |v| <= 448, ties to even, as a float.
inline __attribute__((always_inline)) float nearest_e4m3(float v) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, v);
  const float normal = __builtin_bit_cast(float, (bits + 0x7FFFFu + ((bits >> 20) & 1u)) & ~0xFFFFFu);
  const float subnormal = (v * 512.0f + kRound - kRound) * (1.0f / 512.0f);  // multiples of 2^-9 below 2^-6
  return __builtin_fabsf(v) < 0.015625f ? subnormal : normal;
}

inline __attribute__((always_inline)) int64_t first_visible(const SoftmaxRows& s, int64_t last) {
  return s.window > 0 && last >= s.window ? last - s.window + 1 : 0;
}

}  // namespace

SWAGE_ROWS void rms_norm_fast(const RmsNormRows& r) {
  const float* x = r.x;
  const float* __restrict weight = r.weight;
  const int64_t size = r.size;
  float* out = r.out;
  for (int64_t row = 0; row < r.rows; ++row, x += size, out += size) {
    Lanes sums = {}, part;
    int64_t i = 0;
    for (; i + kLanes <= size; i += kLanes) {
      __builtin_memcpy(&part, x + i, sizeof part);
      sums += part * part;
    }
    double sum = 0;
    for (; i < size; ++i) sum += double(x[i]) * x[i];
    for (int64_t lane = 0; lane < kLanes; ++lane) sum += sums[lane];
    const float factor = static_cast<float>(1 / std::sqrt(sum / static_cast<double>(size) + r.epsilon));
#pragma GCC ivdep
    for (int64_t j = 0; j < size; ++j) out[j] = x[j] * factor * weight[j];
  }
}

SWAGE_ROWS void rotate_heads_fast(const RotateHeads& r) {
  float* x = r.x;
  const float *cosine = r.cosine, *sine = r.sine;
  const int64_t half = r.half;
  for (int64_t token = 0; token < r.tokens; ++token, cosine += half, sine += half) {
    for (int64_t head = 0; head < r.heads; ++head, x += 2 * half) {
      float* __restrict first = x;
      float* __restrict second = x + half;
      const float* __restrict c = cosine;
      const float* __restrict s = sine;
      for (int64_t i = 0; i < half; ++i) {
        const float a = first[i], b = second[i];
        first[i] = a * c[i] - b * s[i];
        second[i] = b * c[i] + a * s[i];
      }
    }
  }
}

SWAGE_ROWS void silu_multiply_fast(const SiluMultiply& s) {
  float* __restrict gate = s.gate;
  const float* __restrict up = s.up;
  const int64_t count = s.count;
  for (int64_t i = 0; i < count; ++i) gate[i] = gate[i] / (1.0f + exponential(-gate[i])) * up[i];
}

SWAGE_ROWS void softmax_rows_fast(const SoftmaxRows& s) {
  float* scores = s.scores;
  const int64_t keys = s.keys;
  const float scale = s.scale;
  for (int64_t row = 0; row < s.rows; ++row, scores += keys) {
    const int64_t last = s.offset + row / s.repeats, first = first_visible(s, last);
    float* __restrict x = scores + first;
    const int64_t count = last - first + 1;
    Lanes best = Lanes{} + x[0], sums = {}, part;
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      __builtin_memcpy(&part, x + i, sizeof part);
      best = part > best ? part : best;
    }
    float most = x[0], sum = 0;
    for (; i < count; ++i) most = x[i] > most ? x[i] : most;
    for (int64_t lane = 0; lane < kLanes; ++lane) most = best[lane] > most ? best[lane] : most;
    for (int64_t j = 0; j < count; ++j) x[j] = exponential((x[j] - most) * scale);
    for (i = 0; i + kLanes <= count; i += kLanes) {
      __builtin_memcpy(&part, x + i, sizeof part);
      sums += part;
    }
    for (; i < count; ++i) sum += x[i];
    for (int64_t lane = 0; lane < kLanes; ++lane) sum += sums[lane];
    const float share = 1.0f / sum;
    for (int64_t j = 0; j < count; ++j) x[j] *= share;
    for (int64_t j = 0; j < first; ++j) scores[j] = 0;
    for (int64_t j = last + 1; j < keys; ++j) scores[j] = 0;
  }
}

constexpr float kUnseen = -__builtin_inff();

// Scores [first, last] as they enter the softmax.
inline __attribute__((always_inline)) void soften(const ScoreWeights& p, float* __restrict s, int64_t first,
                                                  int64_t last) {
  const float scale = p.scale, softcap = p.softcap, slope = p.slope;
  for (int64_t i = first; i <= last; ++i) s[i] *= scale;
  if (softcap > 0) {
    for (int64_t i = first; i <= last; ++i) s[i] = __builtin_tanhf(s[i] / softcap) * softcap;
  }
  if (slope != 0) {
    for (int64_t i = first; i <= last; ++i) s[i] += slope * static_cast<float>(i - last);
  }
}

// kUnseen wherever no key is seen, up to `end`.
inline __attribute__((always_inline)) void hide(const ScoreWeights& p, float* __restrict s, int64_t first, int64_t last,
                                                int64_t end) {
  if (p.chosen != nullptr) {
    for (int64_t i = first; i <= last; ++i) s[i] = p.chosen[i] != 0 ? s[i] : kUnseen;
  }
  for (int64_t i = 0; i < first; ++i) s[i] = kUnseen;
  for (int64_t i = last + 1; i < end; ++i) s[i] = kUnseen;
}

SWAGE_ROWS void score_weights_fast(const ScoreWeights& p) {
  float* __restrict s = p.scores;
  const int64_t first = p.first - p.base, last = p.last - p.base, end = (last / kLanes + 1) * kLanes;
  soften(p, s, first, last);
  hide(p, s, first, last, end);
  Lanes best = Lanes{} + kUnseen, sums = {}, part;
  for (int64_t i = 0; i < end; i += kLanes) {
    __builtin_memcpy(&part, s + i, sizeof part);
    best = part > best ? part : best;
  }
  float most = p.sink == nullptr ? kUnseen : *p.sink;
  for (int64_t lane = 0; lane < kLanes; ++lane) most = best[lane] > most ? best[lane] : most;
  for (int64_t i = 0; i < end; ++i) s[i] = s[i] == kUnseen ? 0.0f : exponential(s[i] - most);
  for (int64_t i = 0; i < end; i += kLanes) {
    __builtin_memcpy(&part, s + i, sizeof part);
    sums += part;
  }
  float sum = p.sink == nullptr ? 0.0f : exponential(*p.sink - most);
  for (int64_t lane = 0; lane < kLanes; ++lane) sum += sums[lane];
  const float share = 1.0f / sum;
  for (int64_t i = 0; i < end; ++i) s[i] *= share;
}

SWAGE_ROWS void largest_size_fast(LargestSize& s) {
  const float* x = s.x;
  const int64_t count = s.count;
  Lanes best = {}, part;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    __builtin_memcpy(&part, x + i, sizeof part);
    part = part < 0 ? -part : part;
    best = part > best ? part : best;
  }
  float largest = 0;
  for (; i < count; ++i) largest = __builtin_fabsf(x[i]) > largest ? __builtin_fabsf(x[i]) : largest;
  for (int64_t lane = 0; lane < kLanes; ++lane) largest = best[lane] > largest ? best[lane] : largest;
  s.largest = largest;
}

// A column with a NaN has NaN for both ends.
SWAGE_ROWS void column_ranges_fast(const ColumnRanges& r) {
  const float* x = r.x;
  const int64_t size = r.size;
  float* __restrict low = r.low;
  float* __restrict high = r.high;
  double* __restrict sum = r.sum;
  for (int64_t row = 0; row < r.rows; ++row, x += size) {
#pragma GCC ivdep
    for (int64_t i = 0; i < size; ++i) {
      const float v = x[i];
      low[i] = (v < low[i]) | (v != v) ? v : low[i];
      high[i] = (v > high[i]) | (v != v) ? v : high[i];
    }
    if (sum == nullptr) continue;
#pragma GCC ivdep
    for (int64_t i = 0; i < size; ++i) sum[i] += double(__builtin_fabsf(x[i]));
  }
}

SWAGE_ROWS void round_to_integers_fast(const RoundToIntegers& r) {
  const float* __restrict x = r.x;
  float* __restrict out = r.out;
  const int64_t count = r.count;
  const float scale = r.scale, zero_point = r.zero_point, low = r.low, high = r.high;
  for (int64_t i = 0; i < count; ++i) {
    float t = x[i] / scale + zero_point;
    t = t < low ? low : t;
    t = t > high ? high : t;
    out[i] = (t + kRound - kRound - zero_point) * scale;
  }
}

SWAGE_ROWS void round_to_e4m3_fast(const RoundToFloats& r) {
  const float* __restrict x = r.x;
  float* __restrict out = r.out;
  const int64_t count = r.count;
  const float scale = r.scale;
  for (int64_t i = 0; i < count; ++i) {
    float t = x[i] / scale;
    t = t < -448.0f ? -448.0f : t;
    t = t > 448.0f ? 448.0f : t;
    out[i] = nearest_e4m3(t) * scale;
  }
}

SWAGE_ROWS void round_to_e2m1_fast(const RoundToFloats& r) {
  const float* __restrict x = r.x;
  float* __restrict out = r.out;
  const int64_t count = r.count;
  const float scale = r.scale;
  for (int64_t i = 0; i < count; ++i) {
    float t = x[i] / scale;
    t = t < -6.0f ? -6.0f : t;
    t = t > 6.0f ? 6.0f : t;
    const float size = __builtin_fabsf(t);
    const float step = size < 2.0f ? 0.5f : size < 4.0f ? 1.0f : 2.0f;
    out[i] = (t / step + kRound - kRound) * step * scale;
  }
}

}  // namespace swage::kernels
