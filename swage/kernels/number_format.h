// Rounding of single values to the number formats that scales and codes are stored in. Plain C++: the reference for the
// SIMD kernels, and fast enough for one value per group.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

// Functions that nvcc compiles for the GPU too, so that a code is rounded by the same text everywhere.
#ifdef __CUDACC__
#define SWAGE_HOST_DEVICE __host__ __device__
#else
#define SWAGE_HOST_DEVICE
#endif

namespace swage::kernels {

enum class NumberFormat { F32, BF16, F16 };

// What a code byte is: an int8, or one of the small floats FP8 E4M3, FP6 E2M3, FP4 E2M1.
enum class CodeKind { Int, E4M3, E2M3, E2M1 };

// A small float: sign, exponent, `mantissa_bits`; subnormal below 2^min_exponent. The byte holds it right-aligned.
struct SmallFloat {
  int mantissa_bits, min_exponent, sign_shift;  // sign_shift: where bit 31 of a float goes from
};
SWAGE_HOST_DEVICE constexpr SmallFloat small_float(CodeKind kind) {
  if (kind == CodeKind::E2M1) return {1, 0, 28};
  if (kind == CodeKind::E2M3) return {3, 0, 26};
  return {3, -6, 24};
}
SWAGE_HOST_DEVICE constexpr float largest_of(CodeKind kind) {
  if (kind == CodeKind::E2M1) return 6.0f;
  if (kind == CodeKind::E2M3) return 7.5f;
  return kind == CodeKind::E4M3 ? 448.0f : 127.0f;
}

// What a scale is rounded to: a number format; E4M3 with all scales multiplied by one global scale (NVFP4); a power of
// two (MX).
enum class ScaleFormat { F32, BF16, F16, E4M3, PowerOfTwo };

SWAGE_HOST_DEVICE inline float round_to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return x;  // NaN
  return std::bit_cast<float>((bits + 0x7FFFu + ((bits >> 16) & 1u)) & 0xFFFF0000u);
}

// Nearest-even to a float with `mantissa_bits` stored bits, subnormal below 2^min_exponent. No saturation.
// The spacing of the format at x is a power of two, so scaling by it is exact.
SWAGE_HOST_DEVICE inline float round_mantissa(float x, int mantissa_bits, int min_exponent) {
  const uint32_t exponent =
      std::max((std::bit_cast<uint32_t>(x) >> 23) & 0xFFu, static_cast<uint32_t>(min_exponent + 127));
  const uint32_t step = exponent - static_cast<uint32_t>(mantissa_bits);
  return std::nearbyint(x * std::bit_cast<float>((254u - step) << 23)) * std::bit_cast<float>(step << 23);
}

SWAGE_HOST_DEVICE inline float round_to_f16(float x) {
  if (!(std::fabs(x) < 65520.0f)) return std::isnan(x) ? x : std::copysign(INFINITY, x);
  return round_mantissa(x, 10, -14);
}

SWAGE_HOST_DEVICE inline float round_to(NumberFormat format, float x) {
  switch (format) {
    case NumberFormat::BF16:
      return round_to_bf16(x);
    case NumberFormat::F16:
      return round_to_f16(x);
    case NumberFormat::F32:
      break;
  }
  return x;
}

// The code value nearest to x, ties to even. x must lie in the code's range.
SWAGE_HOST_DEVICE inline float round_to_code_value(CodeKind kind, float x) {
  if (kind == CodeKind::Int) return std::nearbyint(x);
  const SmallFloat f = small_float(kind);
  return round_mantissa(x, f.mantissa_bits, f.min_exponent);
}

// Byte of a code value; the sign of a float's zero is kept.
SWAGE_HOST_DEVICE inline uint8_t encode_code(CodeKind kind, float x) {
  if (kind == CodeKind::Int) return static_cast<uint8_t>(static_cast<int8_t>(x));
  const SmallFloat f = small_float(kind);
  const uint32_t bits = std::bit_cast<uint32_t>(x), sign = (bits & 0x80000000u) >> f.sign_shift;
  const float magnitude = std::fabs(x), smallest_normal = std::ldexp(1.0f, f.min_exponent);
  if (magnitude < smallest_normal)
    return static_cast<uint8_t>(sign | static_cast<uint32_t>(std::ldexp(magnitude, f.mantissa_bits - f.min_exponent)));
  const auto least = static_cast<uint32_t>(f.min_exponent + 126) << f.mantissa_bits;
  return static_cast<uint8_t>(sign | (((bits & 0x7FFFFFFFu) >> (23 - f.mantissa_bits)) - least));
}

// Value of a code byte. E4M3's two NaN bytes read as 480.
SWAGE_HOST_DEVICE inline float decode_code(CodeKind kind, uint8_t byte) {
  if (kind == CodeKind::Int) return static_cast<float>(static_cast<int8_t>(byte));
  const SmallFloat f = small_float(kind);
  const int sign_bit = 1 << (31 - f.sign_shift), magnitude = byte & (sign_bit - 1), bits = 1 << f.mantissa_bits;
  const int exponent = magnitude / bits, mantissa = magnitude % bits;
  const float value =
      exponent == 0 ? std::ldexp(static_cast<float>(mantissa), f.min_exponent - f.mantissa_bits)
                    : std::ldexp(static_cast<float>(bits + mantissa), exponent - 1 + f.min_exponent - f.mantissa_bits);
  return (byte & sign_bit) != 0 ? -value : value;
}

// FP8 E4M3 (float8_e4m3fn): 3 mantissa bits, subnormal below 2^-6, largest 448. |x| must be at most 448.
SWAGE_HOST_DEVICE inline float round_to_e4m3(float x) { return round_to_code_value(CodeKind::E4M3, x); }
SWAGE_HOST_DEVICE inline uint8_t encode_e4m3(float x) { return encode_code(CodeKind::E4M3, x); }

// Exponent byte of the power of two 2^(byte - 127) that scales a group of largest magnitude `largest` to the codes of
// `kind` (compressed-tensors 0.15 and later): the exponent of `largest`, one more if it lies less than half a step of
// the code below the next power of two, less the exponent of the largest code.
SWAGE_HOST_DEVICE inline int mx_exponent(float largest, CodeKind kind) {
  const uint32_t half_step = 1u << (kind == CodeKind::E2M3 ? 19 : 21);
  const int exponent = static_cast<int>((std::bit_cast<uint32_t>(std::fabs(largest)) + half_step) >> 23) -
                       (kind == CodeKind::E4M3 ? 8 : 2);
  return std::clamp(exponent, 0, 254);
}
// 2^(byte - 127); a byte of 0 gives the subnormal 2^-127.
SWAGE_HOST_DEVICE inline float value_of_exponent(int byte) {
  return byte == 0 ? 0x1p-127f : std::bit_cast<float>(static_cast<uint32_t>(byte) << 23);
}

// How scales are stored: `raw` is the scale wanted, `largest` the magnitude that it maps to the largest code.
struct ScaleRule {
  ScaleFormat format = ScaleFormat::F32;
  CodeKind codes = CodeKind::Int;
  float zero_scale = 0x1p-23f;  // stands for a stored scale of 0
  float global = 1;             // E4M3: stored scale = scale * global
};
// `raw` in the rule's format; not for powers of two. May be 0.
SWAGE_HOST_DEVICE inline float rounded_scale(const ScaleRule& rule, float raw) {
  switch (rule.format) {
    case ScaleFormat::E4M3:
      return round_to_e4m3(std::min(raw * rule.global, 448.0f)) / rule.global;
    case ScaleFormat::BF16:
      return round_to_bf16(raw);
    case ScaleFormat::F16:
      return round_to_f16(raw);
    case ScaleFormat::F32:
    case ScaleFormat::PowerOfTwo:
      break;
  }
  return raw;
}
SWAGE_HOST_DEVICE inline float stored_scale(const ScaleRule& rule, float raw, float largest) {
  if (rule.format == ScaleFormat::PowerOfTwo) return value_of_exponent(mx_exponent(largest, rule.codes));
  const float scale = rounded_scale(rule, raw);
  if (scale != 0.0f) return scale;
  return rule.format == ScaleFormat::E4M3 ? rule.zero_scale / rule.global : rule.zero_scale;
}

SWAGE_HOST_DEVICE inline float widen_bf16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

SWAGE_HOST_DEVICE inline float widen_f16(uint16_t bits) {
  const float sign = (bits & 0x8000u) ? -1.0f : 1.0f;
  const int exponent = (bits >> 10) & 31;
  const float mantissa = static_cast<float>(bits & 0x3FFu);
  if (exponent == 31) return mantissa != 0.0f ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024.0f + mantissa, exponent - 25);
}

// Element `i` of an array stored in `format`.
SWAGE_HOST_DEVICE inline float load_as_float(const void* data, NumberFormat format, int64_t i) {
  switch (format) {
    case NumberFormat::BF16:
      return widen_bf16(static_cast<const uint16_t*>(data)[i]);
    case NumberFormat::F16:
      return widen_f16(static_cast<const uint16_t*>(data)[i]);
    case NumberFormat::F32:
      break;
  }
  return static_cast<const float*>(data)[i];
}

SWAGE_HOST_DEVICE constexpr int64_t bytes_of(NumberFormat format) { return format == NumberFormat::F32 ? 4 : 2; }

// Scale that maps values up to `largest` to int16: 2^-16 of it is kept. So small a block that 1 / scale would overflow
// is 0.
SWAGE_HOST_DEVICE inline float block_scale(float largest) { return largest < 1e-30f ? 0.0f : largest / 32767.0f; }
SWAGE_HOST_DEVICE inline int16_t block_code(float x, float inverse_scale) {
  return static_cast<int16_t>(std::nearbyint(x * inverse_scale));
}

}  // namespace swage::kernels
