#include "swage/format/quantized_weight.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "swage/base/error.h"

namespace swage::format {
namespace {

// Below this many values a thread is not worth starting.
constexpr int64_t kValuesPerTask = 1 << 16;
constexpr std::array<float, 16> kE2M1 = {0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0f, -0.5, -1, -1.5, -2, -3, -4, -6};

bool is_integer(at::ScalarType codes) { return codes == at::kChar || codes == at::kShort; }

// What one scale spans. Every way of sharing scales is a matrix of tiles: rows x all columns for one scale in all.
struct Tile {
  int64_t rows, columns;
};

Tile tile_of(const QuantizedWeight& weight) {
  const int64_t rows = weight.codes_OI.size(0), columns = weight.codes_OI.size(1);
  if (weight.block_rows > 0)
    return {std::min(weight.block_rows, std::max<int64_t>(rows, 1)),
            std::min(weight.block_columns, std::max<int64_t>(columns, 1))};
  if (weight.scale_OG.numel() == 1) return {std::max<int64_t>(rows, 1), columns};
  return {1, columns / weight.scale_OG.size(1)};
}

bool scales_fit(const QuantizedWeight& weight) {
  const at::Tensor& scale = weight.scale_OG;
  const int64_t rows = weight.codes_OI.size(0), columns = weight.codes_OI.size(1);
  if (!scale.defined() || (weight.block_rows > 0) != (weight.block_columns > 0)) return false;
  if (weight.block_rows > 0) {
    const bool apart = !weight.zero_point_OG.defined() || is_integer(weight.codes_OI.scalar_type());
    return apart && !weight.g_idx_I.defined() && scale.dim() == 2 &&
           scale.size(0) == tiles_over(rows, weight.block_rows) &&
           scale.size(1) == tiles_over(columns, weight.block_columns);
  }
  if (scale.numel() == 1) return true;
  return scale.dim() == 2 && scale.size(0) == rows && scale.size(1) > 0 &&
         (columns % scale.size(1) == 0 || weight.g_idx_I.defined());
}

void check(const QuantizedWeight& weight) {
  const at::Tensor &codes = weight.codes_OI, &scale = weight.scale_OG, &zero_point = weight.zero_point_OG;
  const at::ScalarType type = codes.defined() ? codes.scalar_type() : at::kFloat;
  const bool known = is_integer(type) || type == at::kFloat8_e4m3fn || type == at::kByte;
  SWAGE_CHECK(known && codes.dim() == 2, InvalidArgument,
              "dequantize: expected a matrix of int8, int16, float8_e4m3fn or uint8 codes");
  SWAGE_CHECK(scales_fit(weight), InvalidArgument, "dequantize: the scale's shape does not fit codes of ",
              codes.size(0), " x ", codes.size(1));
  SWAGE_CHECK(at::isFloatingType(scale.scalar_type()) || scale.scalar_type() == at::kByte, InvalidArgument,
              "dequantize: expected scales of floats or uint8 exponents, found ", c10::toString(scale.scalar_type()));
  SWAGE_CHECK(!zero_point.defined() || zero_point.sizes() == scale.sizes(), InvalidArgument,
              "dequantize: zero point and scale differ in shape");
  SWAGE_CHECK(!zero_point.defined() || is_integer(type), InvalidArgument,
              "dequantize: zero point without integer codes");
  SWAGE_CHECK(!weight.global_scale.defined() || weight.global_scale.numel() == 1, InvalidArgument,
              "dequantize: expected one global scale");
  SWAGE_CHECK(!weight.g_idx_I.defined() || weight.g_idx_I.numel() == codes.size(1), InvalidArgument,
              "dequantize: expected a group for each of ", codes.size(1), " columns, found ", weight.g_idx_I.numel());
}

// What codes are multiplied by, f32: exponents as powers of two, local scales under their global one.
at::Tensor effective_scale(const QuantizedWeight& weight) {
  const at::Tensor& stored = weight.scale_OG;
  const at::Tensor scale = stored.scalar_type() == at::kByte ? scales_of_exponents(stored) : stored.to(at::kFloat);
  return weight.global_scale.defined() ? scale.div(weight.global_scale.to(at::kFloat).reshape({1})) : scale;
}

// A value for every code byte: integers as they are, FP8 and FP4 by their definition.
std::array<float, 256> values_of_codes(at::ScalarType type) {
  std::array<float, 256> values;
  for (int i = 0; i < 256; ++i) {
    const uint8_t byte = uint8_t(i);
    float& value = values[size_t(i)];
    if (type == at::kByte) {
      value = kE2M1[byte & 15];
    } else {
      value = type == at::kFloat8_e4m3fn ? float(c10::Float8_e4m3fn(byte, c10::Float8_e4m3fn::from_bits()))
                                         : float(int8_t(byte));
    }
  }
  return values;
}

// Sixteen at a time, `out` apart from `codes`: a count known to the compiler is one it turns into vector instructions.
template <class Code>
void dequantize_run(const Code* __restrict codes, int64_t count, float zero_point, float scale, float* __restrict out) {
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
  const void* codes;
  at::ScalarType type;
  const float* scale;
  const float* zero_point;  // nullptr: none
  const int32_t* g_idx;     // nullptr: consecutive columns
  int64_t columns, scales;  // of a row
  Tile tile;
  std::array<float, 256> values;

  float value(int64_t at) const {
    return type == at::kShort ? float(static_cast<const int16_t*>(codes)[at])
                              : values[static_cast<const uint8_t*>(codes)[at]];
  }

  void dequantize_columns(int64_t from, int64_t count, float z, float s, float* out) const {
    if (type == at::kChar) return dequantize_run(static_cast<const int8_t*>(codes) + from, count, z, s, out);
    if (type == at::kShort) return dequantize_run(static_cast<const int16_t*>(codes) + from, count, z, s, out);
    const uint8_t* code = static_cast<const uint8_t*>(codes) + from;
    for (int64_t i = 0; i < count; ++i) out[i] = values[code[i]] * s;
  }

  void dequantize(int64_t row, float* out) const {
    const int64_t from = row * columns, first = row / tile.rows * scales;
    const auto zero = [&](int64_t g) { return zero_point ? zero_point[first + g] : 0.0f; };
    if (g_idx) {
      for (int64_t i = 0; i < columns; ++i) {
        const int64_t g = scales == 1 ? 0 : g_idx[i];
        out[i] = (value(from + i) - zero(g)) * scale[first + g];
      }
      return;
    }
    for (int64_t g = 0; g * tile.columns < columns; ++g) {
      const int64_t begin = g * tile.columns;
      dequantize_columns(from + begin, std::min(tile.columns, columns - begin), zero(g), scale[first + g], out + begin);
    }
  }
};

at::Tensor dequantize_cpu(const QuantizedWeight& weight) {
  const at::Tensor codes = weight.codes_OI.contiguous();
  const at::Tensor scale = effective_scale(weight).contiguous();
  const at::Tensor zero_point =
      weight.zero_point_OG.defined() ? weight.zero_point_OG.to(at::kFloat).contiguous() : at::Tensor();
  const at::Tensor g_idx = weight.g_idx_I.defined() ? weight.g_idx_I.to(at::kInt).contiguous() : at::Tensor();
  const int64_t rows = codes.size(0), columns = codes.size(1);
  const Rows source{codes.const_data_ptr(),
                    codes.scalar_type(),
                    scale.const_data_ptr<float>(),
                    zero_point.defined() ? zero_point.const_data_ptr<float>() : nullptr,
                    g_idx.defined() ? g_idx.const_data_ptr<int32_t>() : nullptr,
                    columns,
                    scale.dim() == 2 ? scale.size(1) : 1,
                    tile_of(weight),
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
    SWAGE_CHECK(group[i] >= 0 && group[i] < groups, InvalidArgument, "dequantize: column ", i, " in group ", group[i],
                " of ", groups);
  }
}

at::Tensor values_with_tensor_ops(const at::Tensor& codes_OI) {
  if (codes_OI.scalar_type() != at::kByte) return codes_OI.to(at::kFloat);
  at::Tensor table = at::empty({16}, at::kFloat);
  std::copy(kE2M1.begin(), kE2M1.end(), table.mutable_data_ptr<float>());
  const at::Tensor index = codes_OI.bitwise_and(15).to(at::kLong).flatten();
  return table.to(codes_OI.device()).index_select(0, index).reshape(codes_OI.sizes());
}

}  // namespace

// 2^(e-127) has e as its exponent field; 2^-127 is subnormal, a mantissa of half.
at::Tensor scales_of_exponents(const at::Tensor& exponents) {
  const at::Tensor exponent = exponents.to(at::kInt);
  const at::Tensor normal = exponent.mul(1 << 23).view(at::kFloat);
  return at::where(exponent.eq(0), std::ldexp(1.0f, -127), normal).to(at::kFloat);
}

at::Tensor dequantize_with_tensor_ops(const QuantizedWeight& weight) {
  check(weight);
  const at::Tensor codes_OI = values_with_tensor_ops(weight.codes_OI);
  const int64_t rows = codes_OI.size(0), columns = codes_OI.size(1);
  const auto spread = [&](const at::Tensor& of_OG) {  // to a value for each column
    const at::Tensor values = of_OG.to(at::kFloat);
    if (values.numel() == 1) return values.reshape({1, 1});
    if (weight.g_idx_I.defined()) return values.index_select(1, weight.g_idx_I.to(at::kLong));
    const Tile tile = tile_of(weight);
    return values.repeat_interleave(tile.rows, 0)
        .narrow(0, 0, rows)
        .repeat_interleave(tile.columns, 1)
        .narrow(1, 0, columns);
  };
  const at::Tensor centred_OI = weight.zero_point_OG.defined() ? codes_OI.sub(spread(weight.zero_point_OG)) : codes_OI;
  return centred_OI.mul(spread(effective_scale(weight)));
}

at::Tensor dequantize(const QuantizedWeight& weight) {
  check(weight);
  if (weight.g_idx_I.defined())
    check_groups_in_range(weight.g_idx_I, weight.scale_OG.dim() == 2 ? weight.scale_OG.size(1) : 1);
  return weight.codes_OI.is_cpu() ? dequantize_cpu(weight) : dequantize_with_tensor_ops(weight);
}

}  // namespace swage::format
