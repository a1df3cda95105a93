#include "swage/ops/fake_quantize.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/aminmax.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "swage/base/error.h"
#include "swage/kernels/kernels.h"
#include "swage/ops/rows_alone.h"

namespace swage::ops {
namespace {

using scheme::Dynamic, scheme::NumberType, scheme::QuantizationArgs, scheme::Strategy;

constexpr float kScaleForZeros = 0x1p-23f;  // float32's epsilon
constexpr float kLocalScaleForZeros = 0.125f;

bool power_of_two_scales(const QuantizationArgs& args) {
  return args.scale_dtype && args.scale_dtype->ends_with("uint8");
}

struct Grid {
  float low, high;   // smallest and largest code
  float half_range;  // absmax / scale of a symmetric grid
};

Grid grid_of(const QuantizationArgs& args) {
  if (args.type == NumberType::Float) return args.num_bits == 8 ? Grid{-448, 448, 448} : Grid{-6, 6, 6};
  const float half = std::ldexp(1.0f, args.num_bits - 1);
  return {-half, half - 1, half - 0.5f};
}

// MX: the exponent of absmax, one more from a mantissa of 1.75 on, less that of the largest code.
float power_of_two_scale(float absmax, int bits) {
  constexpr uint32_t kQuarter = 1u << 21;  // 2^(23 - 1 - 1) of the mantissa's 23 bits
  const int exponent = int((std::bit_cast<uint32_t>(absmax) + kQuarter) >> 23) - (bits == 4 ? 2 : 8);
  return std::ldexp(1.0f, std::clamp(exponent, 0, 254) - 127);
}

// NVFP4: a scale of e4m3 under the global one.
float local_scale(float absmax, float global_scale) {
  const float wanted = std::min(global_scale * (absmax / 6.0f), 448.0f);
  float rounded;
  kernels::fast_kernels().round_to_e4m3({&wanted, 1, 1.0f, &rounded});
  return (rounded > 0 ? rounded : kLocalScaleForZeros) / global_scale;
}

struct ScaleAndZero {
  float scale, zero_point;
};

ScaleAndZero dynamic_scale(float minimum, float maximum, const QuantizationArgs& args, const Grid& grid,
                           float global_scale) {
  const float absmax = std::max(-minimum, maximum);
  if (args.dynamic == Dynamic::Local) return {local_scale(absmax, global_scale), 0};
  if (power_of_two_scales(args)) return {power_of_two_scale(absmax, args.num_bits), 0};
  const float scale = args.symmetric ? absmax / grid.half_range : (maximum - minimum) / (grid.high - grid.low);
  const float used = scale > 0 ? scale : kScaleForZeros;
  if (args.symmetric) return {used, 0};
  return {used, std::nearbyint(std::clamp(grid.low - minimum / used, grid.low, grid.high))};
}

void round_to_grid(const float* x, int64_t count, const QuantizationArgs& args, const Grid& grid, ScaleAndZero s,
                   float* out) {
  const kernels::KernelTable& table = kernels::fast_kernels();
  if (args.type == NumberType::Int)
    return table.round_to_integers({x, count, s.scale, s.zero_point, grid.low, grid.high, out});
  const auto round = args.num_bits == 8 ? table.round_to_e4m3 : table.round_to_e2m1;
  round({x, count, s.scale, out});
}

ScaleAndZero dynamic_scale_of(const float* x, int64_t count, const QuantizationArgs& args, const Grid& grid,
                              float global_scale) {
  if (args.symmetric) {
    kernels::LargestSize size{x, count, 0};
    kernels::fast_kernels().largest_size(size);
    return dynamic_scale(-size.largest, size.largest, args, grid, global_scale);
  }
  const auto [least, most] = std::minmax_element(x, x + count);
  return dynamic_scale(std::min(*least, 0.0f), std::max(*most, 0.0f), args, grid, global_scale);
}

// Columns that share a dynamic scale.
int64_t unit_columns(const QuantizationArgs& args, int64_t columns) {
  if (args.strategy == Strategy::Group || args.strategy == Strategy::TensorGroup) return *args.group_size;
  return columns;
}

void quantize_rows(const float* x, int64_t tokens, int64_t columns, const ActivationQuantization& q, float* out) {
  const QuantizationArgs& args = q.args;
  const Grid grid = grid_of(args);
  if (args.dynamic == Dynamic::No) {
    const float* scale = q.scale.const_data_ptr<float>();
    const float* zero_point = q.zero_point.defined() ? q.zero_point.const_data_ptr<float>() : nullptr;
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t i = t % q.scale.numel();
      round_to_grid(x + t * columns, columns, args, grid, {scale[i], zero_point ? zero_point[i] : 0},
                    out + t * columns);
    }
    return;
  }
  const float global_scale = q.global_scale.defined() ? *q.global_scale.const_data_ptr<float>() : 1;
  const auto round = [&](int64_t from, int64_t count) {
    round_to_grid(x + from, count, args, grid, dynamic_scale_of(x + from, count, args, grid, global_scale), out + from);
  };
  if (args.strategy == Strategy::Tensor && !RowsAlone::on()) return round(0, tokens * columns);
  const int64_t unit = unit_columns(args, columns);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t c = 0; c < columns; c += unit) round(t * columns + c, std::min(unit, columns - c));
  }
}

// float8 with blocks of weights: the last block of a row, and so the group of inputs that meets it, may be narrower.
bool may_end_ragged(const QuantizationArgs& args) {
  return args.strategy == Strategy::Group && args.type == NumberType::Float && args.num_bits == 8 &&
         !power_of_two_scales(args);
}

// The same where the values lie on another device: through this one's memory, the arithmetic being the same everywhere.
at::Tensor quantize_through_host(const at::Tensor& x_TI, const ActivationQuantization& q) {
  const at::Tensor x = x_TI.cpu().contiguous();
  at::Tensor out = at::empty_like(x);
  ActivationQuantization here = q;
  for (at::Tensor* stored : {&here.scale, &here.zero_point, &here.global_scale}) {
    if (stored->defined()) *stored = stored->cpu();
  }
  quantize_rows(x.const_data_ptr<float>(), x.size(0), x.size(1), here, out.mutable_data_ptr<float>());
  return out.to(x_TI.device());
}

// Per-token int and float8, the common cases, with tensor operations for other devices.
at::Tensor quantize_tokens_with_tensors(const at::Tensor& x_TI, const QuantizationArgs& args) {
  const Grid grid = grid_of(args);
  auto [minimum_T1, maximum_T1] = at::aminmax(x_TI, -1, true);
  minimum_T1 = minimum_T1.clamp_max(0), maximum_T1 = maximum_T1.clamp_min(0);
  at::Tensor scale_T1 = args.symmetric ? maximum_T1.maximum(-minimum_T1).div(grid.half_range)
                                       : (maximum_T1 - minimum_T1).div(grid.high - grid.low);
  scale_T1 = at::where(scale_T1 > 0, scale_T1, kScaleForZeros);
  if (args.type == NumberType::Float) {
    return (x_TI / scale_T1).clamp_(grid.low, grid.high).to(at::kFloat8_e4m3fn).to(at::kFloat).mul_(scale_T1);
  }
  if (args.symmetric) return (x_TI / scale_T1).clamp_(grid.low, grid.high).round_().mul_(scale_T1);
  const at::Tensor zero_T1 = (grid.low - minimum_T1 / scale_T1).clamp_(grid.low, grid.high).round_();
  return (x_TI / scale_T1).add_(zero_T1).clamp_(grid.low, grid.high).round_().sub_(zero_T1).mul_(scale_T1);
}

// What shares a range, and when the range is found: the combinations that can be run.
struct Ranges {
  Dynamic dynamic;
  Strategy strategy;
};
constexpr Ranges kRun[] = {{Dynamic::Yes, Strategy::Token},   {Dynamic::Yes, Strategy::Tensor},
                           {Dynamic::Yes, Strategy::Group},   {Dynamic::No, Strategy::Tensor},
                           {Dynamic::No, Strategy::AttnHead}, {Dynamic::Local, Strategy::TensorGroup}};

}  // namespace

void check_activation_quantization(const QuantizationArgs& args, const std::string& module) {
  const bool integers = args.type == NumberType::Int && args.num_bits >= 2 && args.num_bits <= 8;
  const bool floats = args.type == NumberType::Float && args.symmetric && (args.num_bits == 8 || args.num_bits == 4);
  SWAGE_CHECK(integers || floats, Unsupported, module, ": activations of ", args.num_bits, "-bit ",
              args.symmetric ? "symmetric " : "asymmetric ", name_of(args.type), " type cannot be run");
  const bool runs = std::any_of(std::begin(kRun), std::end(kRun), [&](const Ranges& ranges) {
    return args.dynamic == ranges.dynamic && args.strategy == ranges.strategy;
  });
  const bool fp4 = args.type == NumberType::Float && args.num_bits == 4;
  SWAGE_CHECK(runs && (fp4 || args.dynamic != Dynamic::Local), Unsupported, module, ": ",
              args.dynamic == Dynamic::No ? "static" : "dynamic", " activations with strategy ", name_of(args.strategy),
              " cannot be run");
}

at::Tensor fake_quantize(const at::Tensor& x_TI, const ActivationQuantization& q) {
  const int64_t tokens = x_TI.size(0), columns = x_TI.size(1), unit = unit_columns(q.args, columns);
  SWAGE_CHECK(unit > 0 && (columns % unit == 0 || may_end_ragged(q.args)), InvalidArgument, "activations of ", columns,
              " columns do not split into groups of ", unit);
  if (!x_TI.is_cpu()) {
    if (x_TI.scalar_type() != at::kFloat) return fake_quantize(x_TI.to(at::kFloat), q);
    const bool by_token =
        q.args.strategy == Strategy::Token && q.args.dynamic == Dynamic::Yes && !power_of_two_scales(q.args);
    return by_token && (q.args.type == NumberType::Int || q.args.num_bits == 8)
               ? quantize_tokens_with_tensors(x_TI, q.args)
               : quantize_through_host(x_TI, q);
  }
  const at::Tensor x = x_TI.contiguous();
  at::Tensor out_TI = at::empty_like(x);
  quantize_rows(x.const_data_ptr<float>(), tokens, columns, q, out_TI.mutable_data_ptr<float>());
  return out_TI;
}

}  // namespace swage::ops
