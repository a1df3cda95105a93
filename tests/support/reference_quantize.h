// Round-to-nearest quantization as compressed-tensors 0.20 does it, one value at a time: the oracle for everything
// faster. Its CPU path runs one torch operation a step, so every intermediate is rounded to the dtype of the weight;
// its GPU path computes codes in f32. Which of the two is a choice here, made per stage.
#pragma once
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

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
};

struct Quantized {
  at::Tensor scale_OG;       // dtype spec.parameters; [1] for kWholeTensor
  at::Tensor zero_point_OG;  // int8, the shape of scale_OG; undefined when symmetric
  at::Tensor codes_OI;       // int8 or float8_e4m3fn
  at::Tensor values_OI;      // (code - zero point) * scale, rounded to spec.parameters, kept as f32; a value that rounds to
                             // zero from below stays -0, which integer codes cannot tell
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

inline float largest_code(const QuantizeSpec& spec) { return spec.fp8 ? 448.0f : std::ldexp(1.0f, spec.bits - 1) - 1; }
inline float smallest_code(const QuantizeSpec& spec) { return spec.fp8 ? -448.0f : -std::ldexp(1.0f, spec.bits - 1); }

struct Parameters {
  float scale = 0, zero_point = 0;
};

// Scale and zero point of the values between `lowest` and `highest` (0 is always put inside).
inline Parameters find_parameters(float lowest, float highest, const QuantizeSpec& spec) {
  const auto round_to = [&](float value) { return rounded(value, spec.parameters); };
  const float code_min = smallest_code(spec), code_max = largest_code(spec);
  lowest = std::min(lowest, 0.0f);
  highest = std::max(highest, 0.0f);
  Parameters found;
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
  float code = rounded(value / of.scale, spec.codes);
  code = rounded(code + of.zero_point, spec.codes);  // also with 0: turns -0 into +0
  code = std::clamp(code, smallest_code(spec), largest_code(spec));
  return spec.fp8 ? float(c10::Float8_e4m3fn(code)) : std::nearbyint(code);
}

// w_OI: float types, any; its values should be exact in spec.codes. group_size must divide the columns.
inline Quantized quantize(const at::Tensor& w_OI, const QuantizeSpec& spec) {
  const at::Tensor w = w_OI.to(at::kFloat).contiguous();
  const int64_t rows = w.size(0), columns = w.size(1);
  const bool whole = spec.group_size == QuantizeSpec::kWholeTensor;
  const int64_t group = spec.group_size > 0 ? spec.group_size : columns;
  const int64_t groups = columns / group;
  const float* value = w.const_data_ptr<float>();
  Quantized out;
  at::Tensor scale_OG = at::empty({rows, groups}), zero_OG = at::empty({rows, groups});
  at::Tensor codes_OI = at::empty_like(w), values_OI = at::empty_like(w);
  for (int64_t run = 0; run < rows * groups; ++run) {  // one run of `group` values shares a scale
    const float* begin = whole ? value : value + run * group;
    const float* end = whole ? value + rows * columns : begin + group;
    const auto [lowest, highest] = std::minmax_element(begin, end);
    const Parameters of = find_parameters(*lowest, *highest, spec);
    scale_OG.mutable_data_ptr<float>()[run] = of.scale;
    zero_OG.mutable_data_ptr<float>()[run] = of.zero_point;
    for (int64_t i = run * group; i < (run + 1) * group; ++i) {
      const float code = nearest_code(value[i], of, spec);
      codes_OI.mutable_data_ptr<float>()[i] = code;
      values_OI.mutable_data_ptr<float>()[i] = rounded((code - of.zero_point) * of.scale, spec.parameters);
    }
  }
  if (whole) {
    scale_OG = scale_OG.flatten().slice(0, 0, 1);
    zero_OG = zero_OG.flatten().slice(0, 0, 1);
  }
  out.scale_OG = scale_OG.to(spec.parameters).contiguous();
  if (!spec.symmetric) out.zero_point_OG = zero_OG.to(at::kChar).contiguous();
  out.codes_OI = codes_OI.to(spec.fp8 ? at::kFloat8_e4m3fn : at::kChar);
  out.values_OI = values_OI;
  return out;
}

}  // namespace swage::reference
