#include "swage/modifiers/solver_glue.h"
#include "swage/ops/device.h"

#include <ATen/ops/index_select.h>
#include <ATen/ops/log2.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "swage/base/error.h"
#include "swage/observers/grid_of.h"
#include "swage/ops/parallel_tasks.h"
#include "swage/solvers/on_device.h"

namespace swage::modifiers {

solvers::GridSpec grid_spec(const scheme::QuantizationArgs& args, at::ScalarType stored_dtype) {
  using scheme::Strategy;
  SWAGE_CHECK(args.strategy != Strategy::Token && args.strategy != Strategy::AttnHead, Unsupported,
              "weights: strategy ", scheme::name_of(args.strategy), " is for activations");
  return observers::grid_of(args, stored_dtype);
}

namespace {

// E2M3 codes as the E4M3 numbers of the same values, the form in which weights of 6 bits are kept.
at::Tensor six_bits_as_e4m3(const at::Tensor& codes_OI) {
  std::vector<float> values(64);
  for (int code = 0; code < 64; ++code) {
    const int exponent = code >> 3 & 3, mantissa = code & 7;
    const float magnitude = exponent == 0 ? float(mantissa) / 8 : std::ldexp(1.0f + float(mantissa) / 8, exponent - 1);
    values[size_t(code)] = code & 32 ? -magnitude : magnitude;
  }
  const at::Tensor table = at::tensor(values).to(at::kFloat8_e4m3fn);
  return table.index_select(0, codes_OI.flatten().to(at::kInt)).view(codes_OI.sizes());
}

// The next smaller code of each, by the sign of its value.
at::Tensor towards_zero(const at::Tensor& codes_OI, const at::Tensor& values_OI) {
  if (codes_OI.scalar_type() == at::kFloat8_e4m3fn)
    return codes_OI.view(at::kByte).sub(1).view(at::kFloat8_e4m3fn);  // the sign is the highest bit
  return codes_OI.sub(codes_OI.scalar_type() == at::kByte ? at::ones_like(codes_OI)
                                                          : values_OI.sign().to(codes_OI.scalar_type()));
}

// A scale that is rounded up makes the largest codes of weights near the end of their type mean infinity to a reader:
// these become the next smaller.
void keep_finite(const solvers::Grid& grid, format::QuantizedWeight& weight) {
  const bool halves = grid.spec.scale_dtype == at::kHalf;
  const double most = halves ? 65504.0 : double(std::numeric_limits<c10::BFloat16>::max());
  const double largest_code =
      grid.spec.symmetric ? std::max(grid.spec.code_max, -grid.spec.code_min) : grid.spec.code_max - grid.spec.code_min;
  const double largest_scale = grid.scale_OG.numel() == 0 ? 0 : grid.scale_OG.max().item<double>();
  SWAGE_CHECK(std::isfinite(largest_scale), Numerical,
              "the range of its values is more than their type holds, so that no scale covers it");
  if (weight.codes_OI.numel() == 0 || largest_scale * largest_code <= most) return;
  for (int step = 0; step < 2;
       ++step) {  // the least of three bits is an eighth of the value, more than any rounding of a scale
    const at::Tensor values_OI = format::dequantize(weight), beyond_OI = values_OI.abs().gt(most);
    if (!beyond_OI.any().item<bool>()) return;
    const at::Tensor smaller_OI = towards_zero(weight.codes_OI, values_OI);
    if (smaller_OI.scalar_type() == at::kFloat8_e4m3fn)
      weight.codes_OI =
          at::where(beyond_OI, smaller_OI.view(at::kByte), weight.codes_OI.view(at::kByte)).view(at::kFloat8_e4m3fn);
    else
      weight.codes_OI = at::where(beyond_OI, smaller_OI, weight.codes_OI);
  }
}

}  // namespace

format::QuantizedWeight to_stored(const at::Tensor& codes_OI, const solvers::Grid& grid) {
  const at::ScalarType dtype = grid.spec.scale_dtype;
  format::QuantizedWeight out;
  out.codes_OI = grid.spec.type == solvers::CodeType::Fp6E2M3 ? six_bits_as_e4m3(codes_OI) : codes_OI;
  if (dtype == at::kByte)
    out.scale_OG = at::log2(grid.scale_OG).add_(127).round_().to(at::kByte);  // of powers of two from 2^-127: exact
  else if (dtype == at::kFloat8_e4m3fn)
    out.scale_OG = grid.scale_OG.mul(grid.global_scale).to(dtype);  // within 2^-23 of an FP8 number
  else
    out.scale_OG = grid.scale_OG.to(dtype);
  if (!grid.spec.symmetric) out.zero_point_OG = grid.zero_point_OG.to(at::kChar);
  if (grid.g_idx_I.defined()) out.g_idx_I = grid.g_idx_I.to(at::kInt);
  if (grid.global_scale.defined()) out.global_scale = grid.global_scale;
  if (grid.spec.group_rows > 1) {
    out.block_rows = grid.spec.group_rows;
    out.block_columns = grid.spec.group_size;
  }
  keep_finite(grid, out);
  return out;
}

bool fits_device(const LinearTask& task) {
  return !ops::on_host(task.weight_OI) &&
         solvers::fits_device(grid_spec(*task.scheme->weights, task.stored_dtype), task.weight_OI.size(1));
}

at::Tensor global_scale_of(std::span<const LinearTask> tasks) {
  std::vector<at::Tensor> weights;
  for (const LinearTask& task : tasks) {
    if (task.global_scale.defined()) return task.global_scale;
    if (task.scheme->weights->strategy == scheme::Strategy::TensorGroup)
      weights.push_back(task.weight_OI.to(at::kCPU, task.stored_dtype));
  }
  return weights.empty() ? at::Tensor() : solvers::shared_global_scale(weights);
}

SolvedLinear round_to_nearest(const LinearTask& task, const solvers::Grid& grid) {
  const at::Tensor weight_OI = task.weight_OI.to(at::kCPU);  // where the kernels of rounding are
  const at::Tensor codes_OI = solvers::quantize_to_grid(weight_OI, grid);
  SolvedLinear out;
  out.weight = to_stored(codes_OI, grid);
  if (!task.measure_error) return out;
  const solvers::SquaredError error = solvers::squared_error(weight_OI, codes_OI, grid);
  report_error(error.difference, error.whole, 1, out);
  return out;
}

double squared_sum(const at::Tensor& x_OI) {
  return ops::sum_by_rows(x_OI.size(0), [&](int64_t first, int64_t rows) {
    return x_OI.narrow(0, first, rows).square().sum(at::kDouble).item<double>();
  });
}

void report_error(double error, double whole, int64_t tokens, SolvedLinear& out) {
  out.loss = std::max(error, 0.0) / double(std::max<int64_t>(tokens, 1));
  out.relative_error = whole > 0 ? std::sqrt(std::max(error, 0.0) / whole) : 0;
}

}  // namespace swage::modifiers
