// Random quantized weights of every kind, for tests.
#pragma once
#include <ATen/ATen.h>

#include <tuple>

#include "swage/format/quantized_weight.h"
#include "swage/scheme/quantization.h"

namespace swage::format {

inline std::vector<int64_t> random_scale_shape(const scheme::QuantizationArgs& args, int64_t rows, int64_t columns) {
  if (args.strategy == scheme::Strategy::Tensor) return {1};
  if (args.strategy != scheme::Strategy::Block) return {rows, columns / columns_per_scale(args, columns)};
  const auto [high, wide] = *args.block_structure;
  return {(rows + high - 1) / high, (columns + wide - 1) / wide};
}

// Codes of the args' numbers, every bit pattern for narrow floats; scales of type `scales` unless the args name one.
inline QuantizedWeight random_weight(const scheme::QuantizationArgs& args, int64_t rows, int64_t columns,
                                     at::ScalarType scales = at::kBFloat16) {
  QuantizedWeight weight;
  const std::vector<int64_t> shape = random_scale_shape(args, rows, columns);
  weight.scale_OG = at::rand(shape).add(0.01).to(scales);
  if (args.scale_dtype == "torch.uint8") weight.scale_OG = at::randint(0, 200, shape, at::kByte);
  if (args.scale_dtype == "torch.float8_e4m3fn") {
    weight.scale_OG = at::rand(shape).mul(440).add(0.01).to(at::kFloat8_e4m3fn);
    weight.global_scale = at::rand({1}).mul(3000).add(1);
  }
  if (args.block_structure) std::tie(weight.block_rows, weight.block_columns) = *args.block_structure;
  if (args.type == scheme::NumberType::Float) {
    if (args.num_bits == 4) weight.codes_OI = at::randint(0, 16, {rows, columns}, at::kByte);
    if (args.num_bits == 6)
      weight.codes_OI = at::randint(-60, 61, {rows, columns}, at::kFloat).div(8).to(at::kFloat8_e4m3fn);
    if (args.num_bits == 8) weight.codes_OI = at::randn({rows, columns}).mul(50).to(at::kFloat8_e4m3fn);
    return weight;
  }
  const at::ScalarType codes = args.num_bits <= 8 ? at::kChar : at::kShort;
  const int64_t low = int64_t(code_min(args)), high = int64_t(code_max(args)) + 1;
  weight.codes_OI = at::randint(low, high, {rows, columns}, codes);
  if (!args.symmetric) weight.zero_point_OG = at::randint(low, high, shape, codes);
  return weight;
}

}  // namespace swage::format
