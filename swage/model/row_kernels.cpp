#include "swage/model/row_kernels.h"

#include <cmath>

// Plain loops compiled once per vector width and picked at load time. Sums keep 16 partial sums, so that every width
// adds in the same order. Builtins instead of <cmath> and <bit>: functions of other settings are not inlined here.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define SWAGE_ROWS \
  __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3", "no-trapping-math", "fp-contract=off")))
#else
#define SWAGE_ROWS
#endif

namespace swage::model::rows {
namespace {

constexpr int64_t kLanes = 16;
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

}  // namespace

SWAGE_ROWS void rms_norm(const float* x, const float* __restrict weight, int64_t rows, int64_t size, float epsilon,
                         float* out) {
  for (int64_t row = 0; row < rows; ++row, x += size, out += size) {
    Lanes sums = {}, part;
    int64_t i = 0;
    for (; i + kLanes <= size; i += kLanes) {
      __builtin_memcpy(&part, x + i, sizeof part);
      sums += part * part;
    }
    double sum = 0;
    for (; i < size; ++i) sum += double(x[i]) * x[i];
    for (int64_t lane = 0; lane < kLanes; ++lane) sum += sums[lane];
    const float factor = static_cast<float>(1 / std::sqrt(sum / static_cast<double>(size) + epsilon));
#pragma GCC ivdep
    for (int64_t j = 0; j < size; ++j) out[j] = x[j] * factor * weight[j];
  }
}

SWAGE_ROWS void rotate(float* x, const float* cosine, const float* sine, int64_t tokens, int64_t heads, int64_t half) {
  for (int64_t token = 0; token < tokens; ++token, cosine += half, sine += half) {
    for (int64_t head = 0; head < heads; ++head, x += 2 * half) {
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

SWAGE_ROWS void silu_multiply(float* __restrict gate, const float* __restrict up, int64_t count) {
  for (int64_t i = 0; i < count; ++i) gate[i] = gate[i] / (1.0f + exponential(-gate[i])) * up[i];
}

SWAGE_ROWS void softmax(float* scores, int64_t rows, int64_t keys, float scale, const VisibleKeys& visible) {
  for (int64_t row = 0; row < rows; ++row, scores += keys) {
    const int64_t last = visible.offset + row / visible.repeats;
    const int64_t first = visible.window > 0 && last >= visible.window ? last - visible.window + 1 : 0;
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

SWAGE_ROWS float absmax(const float* x, int64_t count) {
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
  return largest;
}

// A column with a NaN has NaN for both ends.
SWAGE_ROWS void column_ranges(const float* x, int64_t rows, int64_t size, float* __restrict low, float* __restrict high,
                              double* __restrict sum) {
  for (int64_t row = 0; row < rows; ++row, x += size) {
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

SWAGE_ROWS void round_to_integers(const float* __restrict x, int64_t count, float scale, float zero_point, float low,
                                  float high, float* __restrict out) {
  for (int64_t i = 0; i < count; ++i) {
    float t = x[i] / scale + zero_point;
    t = t < low ? low : t;
    t = t > high ? high : t;
    out[i] = (t + kRound - kRound - zero_point) * scale;
  }
}

SWAGE_ROWS void round_to_e4m3(const float* __restrict x, int64_t count, float scale, float* __restrict out) {
  for (int64_t i = 0; i < count; ++i) {
    float t = x[i] / scale;
    t = t < -448.0f ? -448.0f : t;
    t = t > 448.0f ? 448.0f : t;
    out[i] = nearest_e4m3(t) * scale;
  }
}

SWAGE_ROWS void round_to_e2m1(const float* __restrict x, int64_t count, float scale, float* __restrict out) {
  for (int64_t i = 0; i < count; ++i) {
    float t = x[i] / scale;
    t = t < -6.0f ? -6.0f : t;
    t = t > 6.0f ? 6.0f : t;
    const float size = __builtin_fabsf(t);
    const float step = size < 2.0f ? 0.5f : size < 4.0f ? 1.0f : 2.0f;
    out[i] = (t / step + kRound - kRound) * step * scale;
  }
}

}  // namespace swage::model::rows
