// The scalar twins of the kernels of rows. They add in the same order and round at the same places as the vectors do,
// so that the results are the same bits.
#include "swage/kernels/plain_rows.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace swage::kernels {
namespace {

// Sum over i of value(i): the values behind the last whole run of kRowLanes first, then the parts.
template <class Total, class Value>
Total sum_in_parts(int64_t count, Value value) {
  float parts[kRowLanes] = {};
  const int64_t whole = count / kRowLanes * kRowLanes;
  for (int64_t i = 0; i < whole; ++i) parts[i % kRowLanes] += float(value(i));
  Total sum = 0;
  for (int64_t i = whole; i < count; ++i) sum += value(i);
  for (const float part : parts) sum += part;
  return sum;
}

// Adding 1.5 * 2^23 leaves a float's integer part in its low bits, rounded to nearest even.
float nearest_integer(float x) {
  constexpr float kRound = 12582912.0f;
  return x + kRound - kRound;
}

// Steps of float8_e4m3 at |v|: 2^-9 below 2^-6, else an eighth of the power of two at or below it.
float nearest_e4m3(float v) {
  const int exponent = std::fabs(v) < 0x1p-6f ? -6 : std::ilogb(v);
  const float step = std::ldexp(1.0f, exponent - 3);
  return nearest_integer(v / step) * step;
}

float nearest_e2m1(float v) {
  const float size = std::fabs(v), step = size < 2 ? 0.5f : size < 4 ? 1.0f : 2.0f;
  return nearest_integer(v / step) * step;
}

}  // namespace

// exp(n ln2 + r) = 2^n * p(r), |r| <= ln2 / 2 (cephes' polynomial).
float exponential(float x) {
  constexpr float kLog2E = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  constexpr float kPolynomial[] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                                   4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
  x = std::clamp(x, -87.0f, 87.0f);
  const float n = nearest_integer(x * kLog2E), r = (x - n * kLn2High) - n * kLn2Low;
  float p = kPolynomial[0];
  for (int i = 1; i < 6; ++i) p = p * r + kPolynomial[i];
  p = p * (r * r) + r + 1.0f;
  return p * std::ldexp(1.0f, int(n));
}

void rms_norm(const RmsNormRows& r) {
  for (int64_t row = 0; row < r.rows; ++row) {
    const float* x = r.x + row * r.size;
    const int64_t whole = r.size / kRowLanes * kRowLanes;
    const double sum =
        sum_in_parts<double>(r.size, [&](int64_t i) { return i < whole ? double(x[i] * x[i]) : double(x[i]) * x[i]; });
    const float factor = float(1 / std::sqrt(sum / double(r.size) + r.epsilon));
    for (int64_t i = 0; i < r.size; ++i) r.out[row * r.size + i] = x[i] * factor * r.weight[i];
  }
}

void silu_multiply(const SiluMultiply& s) {
  for (int64_t i = 0; i < s.count; ++i) s.gate[i] = s.gate[i] / (1.0f + exponential(-s.gate[i])) * s.up[i];
}

void rotate_heads(const RotateHeads& r) {
  for (int64_t token = 0; token < r.tokens; ++token) {
    for (int64_t head = 0; head < r.heads; ++head) {
      float* x = r.x + (token * r.heads + head) * 2 * r.half;
      for (int64_t i = 0; i < r.half; ++i) {
        const float a = x[i], b = x[i + r.half], c = r.cosine[token * r.half + i], s = r.sine[token * r.half + i];
        x[i] = a * c - b * s;
        x[i + r.half] = b * c + a * s;
      }
    }
  }
}

void softmax_rows(const SoftmaxRows& s) {
  for (int64_t row = 0; row < s.rows; ++row) {
    float* scores = s.scores + row * s.keys;
    const int64_t last = s.offset + row / s.repeats,
                  first = s.window > 0 ? std::max<int64_t>(0, last - s.window + 1) : 0;
    float* x = scores + first;
    const int64_t count = last - first + 1;
    const float most = *std::max_element(x, x + count);
    for (int64_t i = 0; i < count; ++i) x[i] = exponential((x[i] - most) * s.scale);
    const float share = 1.0f / sum_in_parts<float>(count, [&](int64_t i) { return x[i]; });
    for (int64_t i = 0; i < count; ++i) x[i] *= share;
    std::fill(scores, scores + first, 0.0f);
    std::fill(scores + last + 1, scores + s.keys, 0.0f);
  }
}

void largest_size(LargestSize& s) {
  s.largest = 0;
  for (int64_t i = 0; i < s.count; ++i) s.largest = std::max(s.largest, std::fabs(s.x[i]));
}

void column_ranges(const ColumnRanges& r) {
  for (int64_t i = 0; i < r.rows * r.size; ++i) {
    const int64_t column = i % r.size;
    const float v = r.x[i];
    if (v < r.low[column] || std::isnan(v)) r.low[column] = v;
    if (v > r.high[column] || std::isnan(v)) r.high[column] = v;
    if (r.sum != nullptr) r.sum[column] += double(std::fabs(v));
  }
}

void round_to_integers(const RoundToIntegers& r) {
  for (int64_t i = 0; i < r.count; ++i) {
    const float t = std::clamp(r.x[i] / r.scale + r.zero_point, r.low, r.high);
    r.out[i] = (nearest_integer(t) - r.zero_point) * r.scale;
  }
}

void round_to_e4m3(const RoundToFloats& r) {
  for (int64_t i = 0; i < r.count; ++i)
    r.out[i] = nearest_e4m3(std::clamp(r.x[i] / r.scale, -448.0f, 448.0f)) * r.scale;
}

void round_to_e2m1(const RoundToFloats& r) {
  for (int64_t i = 0; i < r.count; ++i) r.out[i] = nearest_e2m1(std::clamp(r.x[i] / r.scale, -6.0f, 6.0f)) * r.scale;
}

}  // namespace swage::kernels
