#include "swage/pipeline/activation_scales.h"

#include <ATen/ops/aminmax.h>
#include <ATen/ops/full.h>
#include <ATen/ops/max.h>

#include <algorithm>
#include <cmath>

#include "swage/base/error.h"
#include "swage/eval/forward.h"
#include "swage/solvers/grid.h"

namespace swage::pipeline {
namespace {

using scheme::Dynamic, scheme::NumberType, scheme::QuantizationArgs, scheme::Strategy;

at::Tensor one_value(double value) { return at::full({1}, value, at::kFloat); }

// As stored: rounded to its type; 0 becomes that type's epsilon.
at::Tensor rounded_scale(const at::Tensor& scale, at::ScalarType stored) {
  const double epsilon = stored == at::kBFloat16 ? 0x1p-7 : stored == at::kHalf ? 0x1p-10 : 0x1p-23;
  const at::Tensor rounded = scale.to(stored).to(at::kFloat);
  return rounded.masked_fill(rounded.eq(0), epsilon);
}

double half_range(const QuantizationArgs& args) { return (code_max(args) - code_min(args)) / 2; }

}  // namespace

bool needs_range(const QuantizationArgs& activations) { return activations.dynamic != Dynamic::Yes; }

Range input_range(const std::vector<model::Flow>& flows, int expert) {
  std::vector<Range> of_flow(flows.size());
  eval::for_each_parallel(int64_t(flows.size()), [&](int64_t i) {
    const model::Flow& flow = flows[size_t(i)];
    at::Tensor x_TI = flow.input_TI;
    if (expert >= 0) {
      const at::Tensor rows = flow.rows_of_expert(expert);
      if (rows.defined()) x_TI = x_TI.index_select(0, rows);
    }
    if (x_TI.size(0) == 0) return;
    const auto [low, high] = at::aminmax(x_TI);
    of_flow[size_t(i)] = {std::min(low.item<double>(), 0.0), std::max(high.item<double>(), 0.0)};
    SWAGE_CHECK(std::isfinite(low.item<double>()) && std::isfinite(high.item<double>()), Numerical, "the activations hold NaN or infinity");
  });
  Range out;
  for (const Range& range : of_flow) out = {std::min(out.low, range.low), std::max(out.high, range.high)};
  return out;
}

model::ActivationQuantization input_quantization(const QuantizationArgs& args, const Range& range, at::ScalarType stored) {
  model::ActivationQuantization out{.args = args};
  const double absmax = std::max(-range.low, range.high);
  if (args.dynamic == Dynamic::Local) {
    out.global_scale = solvers::global_scale_of(absmax, stored);
    return out;
  }
  if (args.dynamic == Dynamic::Yes) return out;
  if (args.symmetric) {
    out.scale = rounded_scale(one_value(absmax / half_range(args)), stored);
    return out;
  }
  out.scale = rounded_scale(one_value((range.high - range.low) / (code_max(args) - code_min(args))), stored);
  const double zero = code_min(args) - range.low / out.scale.item<double>();
  out.zero_point = one_value(std::nearbyint(std::clamp(zero, code_min(args), code_max(args))));
  return out;
}

std::vector<io::TensorSpec> input_specs(const QuantizationArgs& args, io::Dtype scale_dtype) {
  std::vector<io::TensorSpec> out;
  if (args.dynamic == Dynamic::Local) out.push_back({"input_global_scale", io::Dtype::F32, {1}});
  if (args.dynamic == Dynamic::No) out.push_back({"input_scale", scale_dtype, {1}});
  if (args.dynamic == Dynamic::No && !args.symmetric) out.push_back({"input_zero_point", io::Dtype::I8, {1}});
  return out;
}

void put_input(checkpoint::Writer& writer, const std::string& module, const model::ActivationQuantization& input, at::ScalarType stored) {
  if (input.global_scale.defined()) writer.put(module + ".input_global_scale", input.global_scale);
  if (input.scale.defined()) writer.put(module + ".input_scale", input.scale.to(stored));
  if (input.zero_point.defined()) writer.put(module + ".input_zero_point", input.zero_point.to(at::kChar));
}

std::vector<io::TensorSpec> cache_specs(const QuantizationArgs& args, int64_t heads, io::Dtype scale_dtype) {
  const std::vector<int64_t> shape = args.strategy == Strategy::AttnHead ? std::vector<int64_t>{heads, 1, 1} : std::vector<int64_t>{1};
  return {{"k_scale", scale_dtype, shape}, {"v_scale", scale_dtype, shape}};
}

void put_cache(checkpoint::Writer& writer, const std::string& attention, const QuantizationArgs& args, const model::CacheRange& range,
               at::ScalarType stored) {
  const auto put = [&](const char* suffix, const at::Tensor& largest_G) {
    const bool by_head = args.strategy == Strategy::AttnHead;
    const at::Tensor largest = by_head ? largest_G.view({-1, 1, 1}) : largest_G.max().view({1});
    writer.put(cat(attention, ".", suffix), rounded_scale(largest.div(half_range(args)), stored).to(stored));
  };
  put("k_scale", range.key_G.cpu());
  put("v_scale", range.value_G.cpu());
}

}  // namespace swage::pipeline
