#include "swage/modifiers/smooth_quant.h"

#include <ATen/ops/amax.h>
#include <ATen/ops/log2.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/where.h>

#include "swage/base/error.h"
#include "swage/base/fields.h"

namespace swage::modifiers {

namespace {

SmoothQuantConfig with_algorithm(SmoothQuantConfig config, const char* algorithm) {
  config.algorithm = algorithm;
  return config;
}

}  // namespace

SmoothQuant::SmoothQuant(SmoothQuantConfig config, const std::string& source)
    : config_(std::move(config)),
      mappings_(parse_mappings(config_.mappings, source)) {
  SWAGE_CHECK(config_.smoothing_strength >= 0 && config_.smoothing_strength <= 1, InvalidArgument, source,
              ": smoothing_strength ", config_.smoothing_strength, ": expected a number from 0 to 1");
  SWAGE_CHECK(config_.algorithm == "smoothquant" || config_.algorithm == "log_equalization", InvalidArgument, source,
              ": algorithm \"", config_.algorithm, "\": expected smoothquant or log_equalization");
}

SmoothQuant::SmoothQuant(LogEqualizationConfig config, const std::string& source)
    : SmoothQuant(with_algorithm(config, "log_equalization"), source) {}

Json SmoothQuant::config() const { return write_fields(config_); }

at::Tensor SmoothQuant::scales(const RescaleTask& task) const {
  const at::Tensor a_I = task.columns.high_I.sub(task.columns.low_I);
  at::Tensor s_I;
  if (config_.algorithm == "log_equalization") {
    s_I = a_I.div(a_I.add(2).log2());
  } else {
    at::Tensor w_I;
    for (const LinearTask& consumer : task.consumers) {
      const at::Tensor largest_I = consumer.weight_OI.abs().amax({0}).to(at::kFloat);
      w_I = w_I.defined() ? at::maximum(w_I, largest_I) : largest_I;
    }
    w_I = w_I.mul(2);
    s_I = a_I.pow(config_.smoothing_strength).div(w_I.pow(1 - config_.smoothing_strength));
    s_I = at::where(w_I.gt(0), s_I, a_I);
  }
  return share_over_repeats(s_I.clamp_min(1e-5), task.run, task.repeats);
}

Cost SmoothQuant::cost(std::span<const LinearShape> linears, const CostSetting&) const {
  const GroupSize size = size_of(linears);
  return {.scratch_bytes = uint64_t(8 * size.largest),
          .flops = 0,
          .passes = size.all * 6,
          .small_bytes = 0};  // magnitudes, and one weight beside the one that takes its place
}

}  // namespace swage::modifiers
