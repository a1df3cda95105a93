#include "swage/modifiers/awq.h"

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

#include "swage/base/error.h"
#include "swage/base/fields.h"
#include "swage/modifiers/solver_glue.h"
#include "swage/ops/parallel_tasks.h"

namespace swage::modifiers {
namespace {

constexpr solvers::ScaleSearch kAbsmax{.kind = solvers::ScaleSearch::Kind::Absmax};

// A consumer as the search sees it: some of its rows, and its grid.
struct Sample {
  at::Tensor weight_OI;  // f32
  solvers::GridSpec spec;
};

Sample sample_of(const LinearTask& task) {
  const int64_t rows = task.weight_OI.size(0), most = Awq::kSampledRows;
  Sample out{task.weight_OI.to(at::kCPU, at::kFloat), grid_spec(*task.scheme->weights, task.stored_dtype)};
  if (out.spec.group_rows == 1 && rows > most) {  // rows have scales of their own
    out.weight_OI = out.weight_OI.index_select(0, at::arange(most).mul_(rows).floor_divide_(most));
  }
  return out;
}

// Q(W s) / s
at::Tensor rounded(const Sample& sample, const at::Tensor& s_I) {
  const at::Tensor scaled_OI = sample.weight_OI.mul(s_I);
  const solvers::Grid grid = solvers::find_grid(scaled_OI, sample.spec, kAbsmax);
  return solvers::dequantize_from_grid(solvers::quantize_to_grid(scaled_OI, grid), grid).div_(s_I);
}

// tr((Q(W s) / s - W) H (...)^T) of each candidate, summed over the consumers.
std::vector<double> errors_by_gram(const RescaleTask& task, const std::vector<at::Tensor>& tried) {
  std::vector<Sample> samples;
  for (const LinearTask& consumer : task.consumers) {
    if (consumer.scheme != nullptr) samples.push_back(sample_of(consumer));
  }
  const at::Tensor gram_II = task.statistics.gram_II.to(at::kCPU, at::kFloat);
  std::vector<double> error(tried.size(), 0.0);
  ops::parallel_tasks(int64_t(tried.size()), [] { return 0; }, [&](int64_t i, int) {
    for (const Sample& sample : samples) {
      error[size_t(i)] += quadratic_form(rounded(sample, tried[size_t(i)]).sub_(sample.weight_OI), gram_II);
    }
  });
  return error;
}

// The same by what the module above the consumers makes of the calibration set.
std::vector<double> errors_by_output(const RescaleTask& task, const std::vector<at::Tensor>& tried) {
  std::vector<double> error;
  for (const at::Tensor& s_I : tried) {
    std::vector<at::Tensor> weights(task.consumers.size());
    ops::parallel_tasks(int64_t(weights.size()), [] { return 0; }, [&](int64_t i, int) {
      const LinearTask& consumer = task.consumers[size_t(i)];
      const at::Tensor w_OI = consumer.weight_OI.to(at::kCPU, at::kFloat);
      weights[size_t(i)] = consumer.scheme == nullptr ? w_OI : rounded({w_OI, grid_spec(*consumer.scheme->weights, consumer.stored_dtype)}, s_I);
    });
    error.push_back(task.output_error(weights));
  }
  return error;
}

// Mean over all rows of all consumers of |W| / (largest |W| in its group + 1e-6).
at::Tensor mean_share(const std::vector<LinearTask>& consumers) {
  at::Tensor sum_I = at::zeros({consumers[0].weight_OI.size(1)}, at::kDouble);
  int64_t rows = 0;
  for (const LinearTask& task : consumers) {
    const at::Tensor w_OI = task.weight_OI.abs().to(at::kFloat);
    const int64_t columns = w_OI.size(1);
    const int64_t group = task.scheme != nullptr && task.scheme->weights->group_size.value_or(0) > 0 ? *task.scheme->weights->group_size : columns;
    const at::Tensor w_OGK = columns % group == 0 ? w_OI.view({w_OI.size(0), -1, group}) : w_OI.unsqueeze(1);
    sum_I.add_(w_OGK.div(w_OGK.amax({2}, true).add_(1e-6)).view(w_OI.sizes()).sum(0, false, at::kDouble));
    rows += w_OI.size(0);
  }
  return sum_I.div_(rows).to(at::kFloat);
}

at::Tensor centred(const at::Tensor& s_I) {
  const at::Tensor s = s_I.div(s_I.max().mul(s_I.min()).sqrt());
  return s.isfinite().all().item<bool>() ? s : at::ones_like(s_I);
}

}  // namespace

Awq::Awq(AwqConfig config, const std::string& source) : config_(std::move(config)), mappings_(parse_mappings(config_.mappings, source)) {
  SWAGE_CHECK(config_.n_grid >= 1 && config_.n_grid <= 1000, InvalidArgument, source, ": n_grid ", config_.n_grid, ": expected a number from 1 to 1000");
  const Json& duo = config_.duo_scaling;
  SWAGE_CHECK(duo.is_bool() || (duo.is_string() && duo.as_string() == "both"), InvalidArgument, source, ": duo_scaling: expected true, false or both");
  SWAGE_CHECK(config_.objective == "gram" || config_.objective == "parent", InvalidArgument, source, ": objective \"", config_.objective,
              "\": expected gram or parent");
}

Json Awq::config() const { return write_fields(config_); }

std::vector<at::Tensor> Awq::candidates(const RescaleTask& task) const {
  const at::Tensor& x_I = task.columns.mean_abs_I;
  const at::Tensor w_I = mean_share(task.consumers);
  const bool both = config_.duo_scaling.is_string();
  std::vector<bool> duos = {both || config_.duo_scaling.as_bool()};
  if (both) duos.push_back(false);
  std::vector<at::Tensor> out = {at::ones_like(x_I)};
  const int64_t steps = std::max<int64_t>(1, config_.n_grid / int64_t(duos.size()));
  for (const bool duo : duos) {
    for (int64_t i = duo ? 0 : 1; i < steps; ++i) {
      const double r = double(i) / double(std::max<int64_t>(1, steps - 1));
      const at::Tensor s_I = duo ? x_I.pow(r).div(w_I.pow(1 - r).add(1e-4)) : x_I.pow(r);
      out.push_back(centred(share_over_repeats(s_I.clamp_min(1e-4), task.run, task.repeats)));
    }
  }
  return out;
}

at::Tensor Awq::scales(const RescaleTask& task) const {
  const std::vector<at::Tensor> tried = candidates(task);
  const std::vector<double> error = task.output_error ? errors_by_output(task, tried) : errors_by_gram(task, tried);
  return tried[size_t(std::min_element(error.begin(), error.end()) - error.begin())];
}

Cost Awq::cost(std::span<const LinearShape> linears, const CostSetting& setting) const {
  const GroupSize size = size_of(linears);
  const double tried = double(config_.n_grid) + 1;
  double sampled = 0, largest = 0;
  for (const LinearShape& linear : linears) {
    const double rows = double(std::min(linear.rows, kSampledRows)), weights = rows * double(linear.columns);
    sampled += weights;
    largest = std::max(largest, weights);
  }
  Cost out;
  // Shares of a consumer's weights; or the Gram matrix in f32 and, on each thread, a candidate scaled, rounded and multiplied.
  const double shares = 12 * size.largest, trying = 4 * size.columns * size.columns + 4 * sampled + setting.threads * 16 * largest;
  out.scratch_bytes = uint64_t(std::max(shares, trying));
  if (4 * largest < kKeptBelow) out.small_bytes = uint64_t(setting.threads * 24 * largest);
  out.flops = tried * 2 * sampled * size.columns;
  out.passes = size.all * 12 + tried * sampled * 14;
  return out;
}

}  // namespace swage::modifiers
