#include "swage/model/activation_quantization.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/aminmax.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>

#include "swage/base/error.h"
#include "swage/model/row_kernels.h"

namespace swage::model {
namespace {

using scheme::QuantizationArgs;

constexpr float kScaleForZeros = 0x1p-23f;  // float32's epsilon

struct Grid {
  float low, high;   // smallest and largest code
  float half_range;  // absmax / scale of a symmetric grid
};

Grid grid_of(const QuantizationArgs& args) {
  if (args.type == scheme::NumberType::Float) return {-448, 448, 448};
  const float half = std::ldexp(1.0f, args.num_bits - 1);
  return {-half, half - 1, half - 0.5f};
}

void quantize_row(const float* x, int64_t count, const QuantizationArgs& args, const Grid& grid, float* out) {
  if (args.symmetric) {
    const float absmax = rows::absmax(x, count);
    const float scale = absmax > 0 ? absmax / grid.half_range : 0;
    const float used = scale > 0 ? scale : kScaleForZeros;
    if (args.type == scheme::NumberType::Float) return rows::round_to_e4m3(x, count, used, out);
    return rows::round_to_integers(x, count, used, 0, grid.low, grid.high, out);
  }
  const auto [least, most] = std::minmax_element(x, x + count);
  const float minimum = std::min(*least, 0.0f), maximum = std::max(*most, 0.0f);
  const float scale = (maximum - minimum) / (grid.high - grid.low);
  const float used = scale > 0 ? scale : kScaleForZeros;
  const float zero_point = std::nearbyint(std::clamp(grid.low - minimum / used, grid.low, grid.high));
  rows::round_to_integers(x, count, used, zero_point, grid.low, grid.high, out);
}

// The same with tensor operations, for other devices.
at::Tensor quantize_with_tensors(const at::Tensor& x_TI, const QuantizationArgs& args, const Grid& grid) {
  auto [minimum_T1, maximum_T1] = at::aminmax(x_TI, -1, true);
  minimum_T1 = minimum_T1.clamp_max(0), maximum_T1 = maximum_T1.clamp_min(0);
  at::Tensor scale_T1 = args.symmetric ? maximum_T1.maximum(-minimum_T1).div(grid.half_range) : (maximum_T1 - minimum_T1).div(grid.high - grid.low);
  scale_T1 = at::where(scale_T1 > 0, scale_T1, kScaleForZeros);
  if (args.type == scheme::NumberType::Float) {
    return (x_TI / scale_T1).clamp_(grid.low, grid.high).to(at::kFloat8_e4m3fn).to(at::kFloat).mul_(scale_T1);
  }
  if (args.symmetric) return (x_TI / scale_T1).clamp_(grid.low, grid.high).round_().mul_(scale_T1);
  const at::Tensor zero_T1 = (grid.low - minimum_T1 / scale_T1).clamp_(grid.low, grid.high).round_();
  return (x_TI / scale_T1).add_(zero_T1).clamp_(grid.low, grid.high).round_().sub_(zero_T1).mul_(scale_T1);
}

}  // namespace

void check_input_quantization(const QuantizationArgs& args, const std::string& module) {
  SWAGE_CHECK(args.dynamic == scheme::Dynamic::Yes && args.strategy == scheme::Strategy::Token, Unsupported, module,
              ": only dynamic per-token quantization of inputs can be run");
  const bool integers = args.type == scheme::NumberType::Int && args.num_bits >= 2 && args.num_bits <= 8;
  const bool float8 = args.type == scheme::NumberType::Float && args.num_bits == 8 && args.symmetric;
  SWAGE_CHECK(integers || float8, Unsupported, module, ": inputs of ", args.num_bits, "-bit ", args.symmetric ? "symmetric " : "asymmetric ",
              args.type == scheme::NumberType::Int ? "int" : "float", " type cannot be run");
}

at::Tensor fake_quantize_tokens(const at::Tensor& x_TI, const QuantizationArgs& args) {
  const Grid grid = grid_of(args);
  if (!x_TI.is_cpu() || !x_TI.is_contiguous()) return quantize_with_tensors(x_TI, args, grid);
  at::Tensor out_TI = at::empty_like(x_TI);
  const int64_t tokens = x_TI.size(0), columns = x_TI.size(1);
  const float* x = x_TI.const_data_ptr<float>();
  float* out = out_TI.mutable_data_ptr<float>();
  for (int64_t t = 0; t < tokens; ++t) quantize_row(x + t * columns, columns, args, grid, out + t * columns);
  return out_TI;
}

}  // namespace swage::model
