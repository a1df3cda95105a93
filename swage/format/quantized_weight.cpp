#include "swage/format/quantized_weight.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>

#include "swage/base/error.h"

namespace swage::format {
namespace {

// Below this many values a thread is not worth starting.
constexpr int64_t kValuesPerTask = 1 << 16;

void check(const QuantizedWeight& weight) {
  const at::Tensor &codes = weight.codes_OI, &scale = weight.scale_OG, &zero_point = weight.zero_point_OG;
  const bool known = codes.defined() && codes.dim() == 2 && (codes.scalar_type() == at::kChar || codes.scalar_type() == at::kFloat8_e4m3fn);
  SWAGE_CHECK(known, InvalidArgument, "dequantize: expected a matrix of int8 or float8_e4m3fn codes");
  const bool whole = scale.defined() && scale.numel() == 1;
  const bool grouped = scale.defined() && scale.dim() == 2 && scale.size(0) == codes.size(0) && scale.size(1) > 0 &&
                       (codes.size(1) % scale.size(1) == 0 || weight.g_idx_I.defined());
  SWAGE_CHECK(whole || grouped, InvalidArgument, "dequantize: the scale's shape does not fit codes of ", codes.size(0), " x ", codes.size(1));
  SWAGE_CHECK(!zero_point.defined() || zero_point.sizes() == scale.sizes(), InvalidArgument, "dequantize: zero point and scale differ in shape");
  SWAGE_CHECK(!weight.g_idx_I.defined() || weight.g_idx_I.numel() == codes.size(1), InvalidArgument, "dequantize: expected a group for each of ",
              codes.size(1), " columns, found ", weight.g_idx_I.numel());
}

// A value for every code byte: integers as they are, FP8 by its definition.
std::array<float, 256> values_of_codes(at::ScalarType type) {
  std::array<float, 256> values;
  for (int i = 0; i < 256; ++i) {
    const uint8_t byte = uint8_t(i);
    values[size_t(i)] = type == at::kChar ? float(int8_t(byte)) : float(c10::Float8_e4m3fn(byte, c10::Float8_e4m3fn::from_bits()));
  }
  return values;
}

// Sixteen at a time, `out` apart from `codes`: a count known to the compiler is one it turns into vector instructions.
void dequantize_run(const int8_t* __restrict codes, int64_t count, float zero_point, float scale, float* __restrict out) {
  constexpr int64_t kStep = 16;
  int64_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    int32_t wide[kStep];
    for (int64_t k = 0; k < kStep; ++k) wide[k] = codes[i + k];
    for (int64_t k = 0; k < kStep; ++k) out[i + k] = (float(wide[k]) - zero_point) * scale;
  }
  for (; i < count; ++i) out[i] = (float(codes[i]) - zero_point) * scale;
}

struct Rows {
  const uint8_t* codes;
  const float* scale;
  const float* zero_point;  // nullptr: none
  const int32_t* g_idx;     // nullptr: consecutive columns
  int64_t columns, groups;
  bool whole;    // one scale for all rows
  bool integer;  // int8 codes
  std::array<float, 256> values;

  void dequantize(int64_t row, float* out) const {
    const uint8_t* code = codes + row * columns;
    const float* s = whole ? scale : scale + row * groups;
    const float* z = whole || !zero_point ? zero_point : zero_point + row * groups;
    if (g_idx) {
      for (int64_t i = 0; i < columns; ++i) out[i] = (values[code[i]] - (z ? z[g_idx[i]] : 0)) * s[g_idx[i]];
      return;
    }
    const int64_t size = columns / groups;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t first = g * size;
      if (integer) {
        dequantize_run(reinterpret_cast<const int8_t*>(code) + first, size, z ? z[g] : 0, s[g], out + first);
      } else {
        for (int64_t i = first; i < first + size; ++i) out[i] = values[code[i]] * s[g];
      }
    }
  }
};

at::Tensor dequantize_cpu(const QuantizedWeight& weight) {
  const at::Tensor codes = weight.codes_OI.contiguous();
  const at::Tensor scale = weight.scale_OG.to(at::kFloat).contiguous();
  const at::Tensor zero_point = weight.zero_point_OG.defined() ? weight.zero_point_OG.to(at::kFloat).contiguous() : at::Tensor();
  const at::Tensor g_idx = weight.g_idx_I.defined() ? weight.g_idx_I.to(at::kInt).contiguous() : at::Tensor();
  const int64_t rows = codes.size(0), columns = codes.size(1), groups = scale.dim() == 2 ? scale.size(1) : 1;
  const Rows source{static_cast<const uint8_t*>(codes.const_data_ptr()),
                    scale.const_data_ptr<float>(),
                    zero_point.defined() ? zero_point.const_data_ptr<float>() : nullptr,
                    g_idx.defined() ? g_idx.const_data_ptr<int32_t>() : nullptr,
                    columns,
                    groups,
                    scale.numel() == 1,
                    codes.scalar_type() == at::kChar,
                    values_of_codes(codes.scalar_type())};
  at::Tensor out_OI = at::empty({rows, columns}, at::kFloat);
  float* out = out_OI.mutable_data_ptr<float>();
  const int64_t grain = std::max<int64_t>(1, kValuesPerTask / std::max<int64_t>(1, columns));
  at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) source.dequantize(r, out + r * columns);
  });
  return out_OI;
}

void check_groups_in_range(const at::Tensor& g_idx_I, int64_t groups) {
  const at::Tensor cpu = g_idx_I.to(at::kCPU, at::kLong).contiguous();
  const int64_t* group = cpu.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < cpu.numel(); ++i) {
    SWAGE_CHECK(group[i] >= 0 && group[i] < groups, InvalidArgument, "dequantize: column ", i, " in group ", group[i], " of ", groups);
  }
}

}  // namespace

at::Tensor dequantize_with_tensor_ops(const QuantizedWeight& weight) {
  check(weight);
  const at::Tensor codes_OI = weight.codes_OI.to(at::kFloat);
  const auto spread = [&](const at::Tensor& of_OG) {  // to a value for each column
    const at::Tensor values = of_OG.to(at::kFloat);
    if (values.numel() == 1) return values.reshape({1, 1});
    if (weight.g_idx_I.defined()) return values.index_select(1, weight.g_idx_I.to(at::kLong));
    return values.repeat_interleave(codes_OI.size(1) / values.size(1), 1);
  };
  const at::Tensor centred_OI = weight.zero_point_OG.defined() ? codes_OI.sub(spread(weight.zero_point_OG)) : codes_OI;
  return centred_OI.mul(spread(weight.scale_OG));
}

at::Tensor dequantize(const QuantizedWeight& weight) {
  check(weight);
  if (weight.g_idx_I.defined()) check_groups_in_range(weight.g_idx_I, weight.scale_OG.dim() == 2 ? weight.scale_OG.size(1) : 1);
  return weight.codes_OI.is_cpu() ? dequantize_cpu(weight) : dequantize_with_tensor_ops(weight);
}

}  // namespace swage::format
