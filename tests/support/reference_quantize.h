// Round-to-nearest quantization as compressed-tensors 0.20 does it, one value at a time: the oracle for everything
// faster. Its CPU path runs one torch operation a step, so every intermediate is rounded to the dtype of the weight;
// its GPU path computes codes in f32. Which of the two is a choice here, made per stage.
#pragma once
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace swage::reference {

struct QuantizeSpec {
  bool fp8 = false;  // E4M3 codes; else signed integers of `bits`
  int bits = 4;      // 1..8
  bool symmetric = true;
  // Columns per scale; kWholeRow: one scale a row, kWholeTensor: one scale in all.
  int64_t group_size = 0;
  static constexpr int64_t kWholeRow = 0, kWholeTensor = -1;
  // What every intermediate is rounded to: kFloat, kBFloat16 or kHalf. Scales have the dtype `parameters`.
  at::ScalarType parameters = at::kFloat;  // in finding scale and zero point
  at::ScalarType codes = at::kFloat;       // in dividing by the scale
  int float_bits = 0;                      // 4: E2M1 codes, 6: E2M3 codes; 0: as fp8 says
  int64_t block_rows = 1;                  // rows that share a scale with group_size columns
  bool power_of_two = false;               // MX: scales 2^e
  bool two_levels = false;                 // NVFP4: E4M3 scales under a global scale
};

struct Quantized {
  at::Tensor scale_OG;       // dtype spec.parameters; [1] for kWholeTensor
  at::Tensor zero_point_OG;  // int8, the shape of scale_OG; undefined when symmetric
  at::Tensor codes_OI;       // int8, float8_e4m3fn, or uint8 codes of FP4 and FP6
  at::Tensor values_OI;  // (code - zero point) * scale, rounded to spec.parameters, kept as f32; a value that rounds to
                         // zero from below stays -0, which integer codes cannot tell
  float global_scale = 1;  // of two levels: scale_OG are f32, effective, local / global
};

// `value` rounded to nearest even in `type`.
inline float rounded(float value, at::ScalarType type) {
  if (type == at::kBFloat16) return float(c10::BFloat16(value));
  if (type == at::kHalf) return float(c10::Half(value));
  return value;
}

// What replaces a scale of zero: the machine epsilon of its dtype.
inline float scale_epsilon(at::ScalarType type) {
  if (type == at::kBFloat16) return std::ldexp(1.0f, -7);
  if (type == at::kHalf) return std::ldexp(1.0f, -10);
  return std::ldexp(1.0f, -23);
}

inline float largest_code(const QuantizeSpec& spec) {
  if (spec.float_bits != 0) return spec.float_bits == 4 ? 6.0f : 7.5f;
  return spec.fp8 ? 448.0f : std::ldexp(1.0f, spec.bits - 1) - 1;
}
inline float smallest_code(const QuantizeSpec& spec) {
  return spec.fp8 || spec.float_bits != 0 ? -largest_code(spec) : -std::ldexp(1.0f, spec.bits - 1);
}

// Values of FP4's and FP6's codes without sign, in order.
inline std::vector<float> small_float_values(int bits) {
  if (bits == 4) return {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  std::vector<float> values;
  for (int code = 0; code < 32; ++code) {
    values.push_back(code < 8 ? float(code) / 8 : std::ldexp(1 + float(code % 8) / 8, code / 8 - 1));
  }
  return values;
}

// Code, without sign, of the value nearest to |x|; of two equally near ones the even code.
inline int nearest_small_float(float x, const std::vector<float>& values) {
  int best = 0;
  for (int code = 1; code < int(values.size()); ++code) {
    const float now = std::fabs(std::fabs(x) - values[size_t(code)]),
                before = std::fabs(std::fabs(x) - values[size_t(best)]);
    if (now < before || (now == before && code % 2 == 0)) best = code;
  }
  return best;
}

// MX: the scale of a group by its largest magnitude, carried in `type`. Where F16 cannot hold it, the library's is 1.
inline float mx_scale(float largest, const QuantizeSpec& spec) {
  const int kept = spec.float_bits == 6 ? 3 : 1, offset = spec.fp8 ? 8 : 2;
  const float tiny = spec.parameters == at::kHalf ? 0x1p-14f : 0x1p-126f;
  float power = 0;  // `largest` with half a step of the code added and the mantissa cleared
  if (largest >= tiny) {
    int exponent = 0;
    const float fraction = std::frexp(largest, &exponent) * 2;  // in [1, 2)
    power = std::ldexp(1.0f, exponent - 1 + (fraction + std::ldexp(1.0f, -kept - 1) >= 2 ? 1 : 0));
  } else if (largest + std::ldexp(tiny, -kept - 1) >= tiny) {
    power = tiny;  // a subnormal that the addition lifts to the smallest normal number
  }
  const float exponent = power == 0 ? 0 : std::clamp(127 + std::log2(power) - float(offset), 0.0f, 255.0f);
  const float scale = rounded(std::ldexp(1.0f, int(exponent) - 127), spec.parameters);
  return scale == 0 ? 1.0f : scale;
}

// NVFP4's global scale of values up to `largest`.
inline float global_scale(float largest, at::ScalarType type) {
  const float reciprocal = rounded(1 / std::max(largest, type == at::kHalf ? 0x1p-14f : 0x1p-126f), type);
  const float scale = rounded(2688.0f * reciprocal, type);  // torch divides a number by a tensor in these two steps
  return std::isfinite(scale) ? scale : 1.0f;
}

struct Parameters {
  float scale = 0, zero_point = 0;
};

// Scale and zero point of the values between `lowest` and `highest` (0 is always put inside). `global`: of two levels.
inline Parameters find_parameters(float lowest, float highest, const QuantizeSpec& spec, float global = 1) {
  const auto round_to = [&](float value) { return rounded(value, spec.parameters); };
  const float code_min = smallest_code(spec), code_max = largest_code(spec);
  lowest = std::min(lowest, 0.0f);
  highest = std::max(highest, 0.0f);
  Parameters found;
  if (spec.power_of_two) return {mx_scale(std::max(-lowest, highest), spec), 0};
  if (spec.two_levels) {
    const float local = float(c10::Float8_e4m3fn(std::min(round_to(std::max(-lowest, highest) / 6) * global, 448.0f)));
    return {(local == 0 ? 0.125f : local) / global, 0};
  }
  if (spec.symmetric) {
    found.scale = round_to(std::max(-lowest, highest) / ((code_max - code_min) / 2));
  } else {
    found.scale = round_to(round_to(highest - lowest) / (code_max - code_min));
    const float ratio = round_to(lowest / found.scale);  // NaN for a group of zeros
    // The only scalar-by-scalar step when one scale serves the whole tensor: there torch computes in f32.
    const float zero = spec.group_size == QuantizeSpec::kWholeTensor ? code_min - ratio : round_to(code_min - ratio);
    // Through an integer, as stored: no negative zero.
    found.zero_point = std::isnan(zero) ? 0 : float(int(std::nearbyint(std::clamp(zero, code_min, code_max))));
  }
  if (found.scale == 0) found.scale = scale_epsilon(spec.parameters);
  return found;
}

// Value of the code nearest to `value`: x / s, + z, clamp, round.
inline float nearest_code(float value, Parameters of, const QuantizeSpec& spec) {
  const at::ScalarType type =
      spec.two_levels ? at::kFloat : spec.codes;  // the global scale is f32, and so is all it touches
  float code = rounded(value / of.scale, type);
  if (spec.float_bits == 6) {  // its path adds no zero point
    const std::vector<float> values = small_float_values(6);
    return std::copysign(values[size_t(nearest_small_float(code, values))], code);
  }
  code = rounded(code + of.zero_point, type);  // also with 0: turns -0 into +0
  code = std::clamp(code, smallest_code(spec), largest_code(spec));
  if (spec.float_bits == 4) {
    const std::vector<float> values = small_float_values(4);
    return std::copysign(values[size_t(nearest_small_float(code, values))], code);
  }
  return spec.fp8 ? float(c10::Float8_e4m3fn(code)) : std::nearbyint(code);
}

// Codes in the type they are stored in.
inline at::Tensor stored_codes(const at::Tensor& values_OI, const QuantizeSpec& spec) {
  if (spec.float_bits == 0) return values_OI.to(spec.fp8 ? at::kFloat8_e4m3fn : at::kChar);
  const std::vector<float> values = small_float_values(spec.float_bits);
  at::Tensor codes_OI = at::empty(values_OI.sizes(), at::kByte);
  for (int64_t i = 0; i < values_OI.numel(); ++i) {
    const float value = values_OI.const_data_ptr<float>()[i];
    codes_OI.mutable_data_ptr<uint8_t>()[i] =
        uint8_t(nearest_small_float(value, values) + (std::signbit(value) ? int(values.size()) : 0));
  }
  return codes_OI;
}

// w_OI: float types, any; its values should be exact in spec.codes. group_size must divide the columns unless blocks
// have rows.
inline Quantized quantize(const at::Tensor& w_OI, const QuantizeSpec& spec) {
  const at::Tensor w = w_OI.to(at::kFloat).contiguous();
  const int64_t rows = w.size(0), columns = w.size(1);
  const bool whole = spec.group_size == QuantizeSpec::kWholeTensor;
  const int64_t width = spec.group_size > 0 ? spec.group_size : columns, height = whole ? rows : spec.block_rows;
  const int64_t across = (columns + width - 1) / width, down = (rows + height - 1) / height;
  const float* value = w.const_data_ptr<float>();
  Quantized out;
  if (spec.two_levels) out.global_scale = global_scale(w.abs().max().item<float>(), spec.parameters);
  at::Tensor scale_OG = at::empty({down, across}), zero_OG = at::empty({down, across});
  at::Tensor codes_OI = at::empty_like(w), values_OI = at::empty_like(w);
  for (int64_t tile = 0; tile < down * across; ++tile) {  // one tile of `width` x `height` values shares a scale
    std::vector<int64_t> places;
    for (int64_t r = tile / across * height; r < std::min(rows, (tile / across + 1) * height); ++r) {
      for (int64_t c = tile % across * width; c < std::min(columns, (tile % across + 1) * width); ++c)
        places.push_back(r * columns + c);
    }
    float lowest = 0, highest = 0;
    for (const int64_t i : places) lowest = std::min(lowest, value[i]), highest = std::max(highest, value[i]);
    const Parameters of = find_parameters(lowest, highest, spec, out.global_scale);
    scale_OG.mutable_data_ptr<float>()[tile] = of.scale;
    zero_OG.mutable_data_ptr<float>()[tile] = of.zero_point;
    for (const int64_t i : places) {
      const float code = nearest_code(value[i], of, spec);
      codes_OI.mutable_data_ptr<float>()[i] = code;
      values_OI.mutable_data_ptr<float>()[i] = rounded((code - of.zero_point) * of.scale, spec.parameters);
    }
  }
  if (whole) {
    scale_OG = scale_OG.flatten();
    zero_OG = zero_OG.flatten();
  }
  out.scale_OG = scale_OG.to(spec.two_levels || spec.power_of_two ? at::kFloat : spec.parameters).contiguous();
  if (!spec.symmetric) out.zero_point_OG = zero_OG.to(at::kChar).contiguous();
  out.codes_OI = stored_codes(codes_OI, spec);
  out.values_OI = values_OI;
  return out;
}

}  // namespace swage::reference
