// Rounding of single values to the number formats that scales and codes are stored in. Plain C++: the reference for the
// SIMD kernels, and fast enough for one value per group.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace swage::kernels {

enum class NumberFormat { F32, BF16, F16 };

inline float round_to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return x;  // NaN
  return std::bit_cast<float>((bits + 0x7FFFu + ((bits >> 16) & 1u)) & 0xFFFF0000u);
}

// Nearest-even to a float with `mantissa_bits` stored bits, subnormal below 2^min_exponent. No saturation.
// The spacing of the format at x is a power of two, so scaling by it is exact.
inline float round_mantissa(float x, int mantissa_bits, int min_exponent) {
  const uint32_t exponent = std::max((std::bit_cast<uint32_t>(x) >> 23) & 0xFFu, static_cast<uint32_t>(min_exponent + 127));
  const uint32_t step = exponent - static_cast<uint32_t>(mantissa_bits);
  return std::nearbyint(x * std::bit_cast<float>((254u - step) << 23)) * std::bit_cast<float>(step << 23);
}

inline float round_to_f16(float x) {
  if (!(std::fabs(x) < 65520.0f)) return std::isnan(x) ? x : std::copysign(INFINITY, x);
  return round_mantissa(x, 10, -14);
}

inline float round_to(NumberFormat format, float x) {
  switch (format) {
    case NumberFormat::BF16: return round_to_bf16(x);
    case NumberFormat::F16: return round_to_f16(x);
    case NumberFormat::F32: break;
  }
  return x;
}

// FP8 E4M3 (float8_e4m3fn): 3 mantissa bits, subnormal below 2^-6, largest 448. |x| must be at most 448.
inline float round_to_e4m3(float x) { return round_mantissa(x, 3, -6); }

// Byte of a value that is on the E4M3 grid; the sign of zero is kept.
inline uint8_t encode_e4m3(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t sign = (bits >> 24) & 0x80u;
  const float magnitude = std::fabs(x);
  if (magnitude < 0.015625f) return static_cast<uint8_t>(sign | static_cast<uint32_t>(magnitude * 512.0f));
  return static_cast<uint8_t>(sign | (((bits & 0x7FFFFFFFu) >> 20) - (120u << 3)));
}

inline float widen_bf16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

inline float widen_f16(uint16_t bits) {
  const float sign = (bits & 0x8000u) ? -1.0f : 1.0f;
  const int exponent = (bits >> 10) & 31;
  const float mantissa = static_cast<float>(bits & 0x3FFu);
  if (exponent == 31) return mantissa != 0.0f ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024.0f + mantissa, exponent - 25);
}

// Element `i` of an array stored in `format`.
inline float load_as_float(const void* data, NumberFormat format, int64_t i) {
  switch (format) {
    case NumberFormat::BF16: return widen_bf16(static_cast<const uint16_t*>(data)[i]);
    case NumberFormat::F16: return widen_f16(static_cast<const uint16_t*>(data)[i]);
    case NumberFormat::F32: break;
  }
  return static_cast<const float*>(data)[i];
}

inline int64_t bytes_of(NumberFormat format) { return format == NumberFormat::F32 ? 4 : 2; }

// Scale that maps values up to `largest` to int16: 2^-16 of it is kept. So small a block that 1 / scale would overflow is 0.
inline float block_scale(float largest) { return largest < 1e-30f ? 0.0f : largest / 32767.0f; }
inline int16_t block_code(float x, float inverse_scale) { return static_cast<int16_t>(std::nearbyint(x * inverse_scale)); }

}  // namespace swage::kernels
