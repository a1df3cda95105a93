#include "swage/modifiers/awq.h"

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "swage/base/error.h"
#include "swage/base/fields.h"
#include "swage/modifiers/solver_glue.h"
#include "swage/ops/parallel_tasks.h"

namespace swage::modifiers {
namespace {

const solvers::ScaleSearch kAbsmax{.kind = solvers::ScaleSearch::Kind::Absmax};

// Parts of the sampled rows. All candidates are tried on the first part, the best of them and s = 1 on the others too.
// A part is scaled, rounded and multiplied at once: what that takes stays in a core's cache.
constexpr int64_t kParts = 4, kFinalists = 6;

// Some rows of a consumer, and their grid.
struct Sample {
  at::Tensor weight_OI;  // f32
  solvers::GridSpec spec;
};

// The parts of a consumer, each with rows from everywhere in it. Rows that share scales stay together, in one part.
std::vector<Sample> sampled_parts(const LinearTask& task) {
  const at::Tensor w_OI = task.weight_OI.to(at::kCPU, at::kFloat);
  const solvers::GridSpec spec = grid_spec(*task.scheme->weights, task.stored_dtype);
  if (spec.group_rows != 1) return {{w_OI, spec}};
  const int64_t rows = w_OI.size(0), most = std::min(rows, Awq::kSampledRows);
  std::vector<Sample> out;
  for (int64_t part = 0; part < std::min(kParts, most); ++part) {
    out.push_back({w_OI.index_select(0, at::arange(part, most, kParts).mul_(rows).floor_divide_(most)), spec});
  }
  return out;
}

// Q(W s) / s
at::Tensor rounded(const Sample& sample, const at::Tensor& s_I) {
  const at::Tensor scaled_OI = sample.weight_OI.mul(s_I);
  const solvers::Grid grid = solvers::find_grid(scaled_OI, sample.spec, kAbsmax);
  return solvers::dequantize_from_grid(solvers::quantize_to_grid(scaled_OI, grid), grid).div_(s_I);
}

// Adds tr((Q(W s) / s - W) H (...)^T) of these weights to the errors of these candidates.
void add_errors(const std::vector<Sample>& samples, const at::Tensor& gram_II, const std::vector<at::Tensor>& tried,
                const std::vector<int64_t>& candidates, std::vector<double>& error) {
  ops::parallel_tasks(
      int64_t(candidates.size()), [] { return 0; },
      [&](int64_t i, int) {
        const size_t candidate = size_t(candidates[size_t(i)]);
        for (const Sample& sample : samples) {
          error[candidate] += quadratic_form(rounded(sample, tried[candidate]).sub_(sample.weight_OI), gram_II);
        }
      });
}

// The error of each candidate, summed over the consumers; infinite for those that the first part of the rows ruled out.
std::vector<double> errors_by_gram(const RescaleTask& task, const std::vector<at::Tensor>& tried) {
  std::vector<Sample> first, others;
  for (const LinearTask& consumer : task.consumers) {
    if (consumer.scheme == nullptr) continue;
    const std::vector<Sample> parts = sampled_parts(consumer);
    first.push_back(parts[0]);
    others.insert(others.end(), parts.begin() + 1, parts.end());
  }
  const at::Tensor gram_II = task.statistics.gram_II.to(at::kCPU, at::kFloat);
  std::vector<double> error(tried.size(), 0.0);
  std::vector<int64_t> order(tried.size());
  std::iota(order.begin(), order.end(), 0);
  add_errors(first, gram_II, tried, order, error);
  std::stable_sort(order.begin() + 1, order.end(),
                   [&](int64_t a, int64_t b) { return error[size_t(a)] < error[size_t(b)]; });
  for (size_t i = 1 + kFinalists; i < order.size(); ++i)
    error[size_t(order[i])] = std::numeric_limits<double>::infinity();
  order.resize(std::min<size_t>(order.size(), 1 + kFinalists));
  add_errors(others, gram_II, tried, order, error);
  return error;
}

// The same by what the module above the consumers makes of the calibration set.
std::vector<double> errors_by_output(const RescaleTask& task, const std::vector<at::Tensor>& tried) {
  std::vector<double> error;
  for (const at::Tensor& s_I : tried) {
    std::vector<at::Tensor> weights(task.consumers.size());
    ops::parallel_tasks(
        int64_t(weights.size()), [] { return 0; },
        [&](int64_t i, int) {
          const LinearTask& consumer = task.consumers[size_t(i)];
          const at::Tensor w_OI = consumer.weight_OI.to(at::kCPU, at::kFloat);
          weights[size_t(i)] = consumer.scheme == nullptr
                                   ? w_OI
                                   : rounded({w_OI, grid_spec(*consumer.scheme->weights, consumer.stored_dtype)}, s_I);
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
    const int64_t group = task.scheme != nullptr && task.scheme->weights->group_size.value_or(0) > 0
                              ? *task.scheme->weights->group_size
                              : columns;
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

Awq::Awq(AwqConfig config, const std::string& source)
    : config_(std::move(config)),
      mappings_(parse_mappings(config_.mappings, source)) {
  SWAGE_CHECK(config_.n_grid >= 1 && config_.n_grid <= 1000, InvalidArgument, source, ": n_grid ", config_.n_grid,
              ": expected a number from 1 to 1000");
  const Json& duo = config_.duo_scaling;
  SWAGE_CHECK(duo.is_bool() || (duo.is_string() && duo.as_string() == "both"), InvalidArgument, source,
              ": duo_scaling: expected true, false or both");
  SWAGE_CHECK(config_.objective == "gram" || config_.objective == "parent", InvalidArgument, source, ": objective \"",
              config_.objective, "\": expected gram or parent");
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
  const double tried = double(config_.n_grid) + 1, finalists = std::min(tried, double(1 + kFinalists));
  const double times = (tried + (kParts - 1) * finalists) / kParts;  // that a sampled weight is tried
  double sampled = 0, part = 0;
  for (const LinearShape& linear : linears) {
    const double weights = double(std::min(linear.rows, kSampledRows)) * double(linear.columns);
    sampled += weights;
    part = std::max(part, weights / kParts);
  }
  Cost out;
  // Shares of a consumer's weights; or the Gram matrix in f32 and, on each thread, a part scaled, rounded and
  // multiplied.
  const double shares = 12 * size.largest,
               trying = 4 * size.columns * size.columns + 4 * sampled + setting.threads * 16 * part;
  out.scratch_bytes = uint64_t(std::max(shares, trying));
  if (4 * part < kKeptBelow) out.small_bytes = uint64_t(setting.threads * 24 * part);
  out.flops = times * 2 * sampled * size.columns;
  out.passes = size.all * 12 + times * sampled * 14;
  return out;
}

}  // namespace swage::modifiers
