#include "swage/modifiers/weight_grids.h"

#include <algorithm>

#include "swage/base/error.h"
#include "swage/modifiers/solver_glue.h"
#include "swage/ops/device.h"
#include "swage/solvers/on_device.h"

namespace swage::modifiers {
namespace {

using scheme::QuantizationArgs, scheme::Strategy;

// The name an argument gives its weights' observer, empty for none.
std::string observer_of(const Json& config_group) {
  const Json* weights = config_group.is_object() ? config_group.find("weights") : nullptr;
  const Json* name = weights != nullptr && weights->is_object() ? weights->find("observer") : nullptr;
  return name != nullptr && name->is_string() ? name->as_string() : "";
}

std::unique_ptr<observers::Observer> observed(const LinearTask& task, const Statistics& statistics) {
  const QuantizationArgs& args = *task.scheme->weights;
  auto observer = observers::make_observer("", args, observers::Role::Weight);
  if (observers::needs_importance(*args.observer)) {
    SWAGE_CHECK(statistics.gram_II.defined(), InvalidArgument, task.name, ": observer ", *args.observer,
                " weighs columns by their inputs, which are not known here");
    observer->set_importance(statistics.gram_II.diagonal().contiguous(), statistics.tokens);
  }
  observer->observe(task.weight_OI.to(at::kCPU, task.stored_dtype));  // the reference looks at the checkpoint's numbers
  return observer;
}

// Of each column: the mean square of its input, in units of all columns' mean, and a hundredth of that: what
// calibration did not see may come.
at::Tensor importance(const at::Tensor& gram_II) {
  const at::Tensor diagonal_I = gram_II.diagonal().to(at::kCPU, at::kDouble);
  const double mean = diagonal_I.mean().item<double>();
  return mean > 0 ? diagonal_I.div(mean).add(0.01).to(at::kFloat).contiguous() : at::Tensor();
}

// Of the linears that share one: from the ranges that observers found, for the others from that of the weight.
at::Tensor shared_scale(std::span<const LinearTask> tasks,
                        const std::vector<std::unique_ptr<observers::Observer>>& observers) {
  double absmax = 0;
  const LinearTask* first = nullptr;
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (tasks[i].scheme->weights->strategy != Strategy::TensorGroup) continue;
    if (first == nullptr) first = &tasks[i];
    if (observers[i] != nullptr) {
      absmax = std::max(absmax, observers[i]->absmax());
      continue;
    }
    const auto range = observers::make_observer("memoryless_minmax", QuantizationArgs(), observers::Role::Weight);
    range->observe(tasks[i].weight_OI.to(at::kCPU));
    absmax = std::max(absmax, range->absmax());
  }
  return solvers::global_scale_of(absmax, first->stored_dtype);
}

}  // namespace

solvers::ScaleSearch ScaleChoice::search_for(const QuantizationArgs& args) const {
  solvers::ScaleSearch out;
  out.kind = kind;
  out.norm = norm.given() ? norm.at(args.num_bits) : by_inputs && args.num_bits > 3 ? 2.0 : 2.4;
  return out;
}

ScaleChoice scale_choice(const std::optional<std::string>& name, const std::string& otherwise, const Json& norm,
                         const std::string& source) {
  using Kind = solvers::ScaleSearch::Kind;
  const std::string wanted = name.value_or(otherwise);
  SWAGE_CHECK(wanted == "absmax" || wanted == "pnorm" || wanted == "imatrix", InvalidArgument, source,
              ": scale_search \"", wanted, "\": expected absmax, pnorm or imatrix");
  ScaleChoice out;
  out.kind = wanted == "absmax" ? Kind::Absmax : Kind::PNorm;
  out.norm = ByBits(norm, source + ": norm", 1, 8);
  out.by_inputs = wanted == "imatrix";
  out.asked = name.has_value();
  return out;
}

std::string name_of(const ScaleChoice& choice) {
  if (choice.by_inputs) return "imatrix";
  return choice.kind == solvers::ScaleSearch::Kind::Absmax ? "absmax" : "pnorm";
}

Json norm_of(const ScaleChoice& choice, const std::set<int>& widths) {
  if (choice.kind == solvers::ScaleSearch::Kind::Absmax) return {};
  return by_bits(widths, [&](int bits) {
    QuantizationArgs args;
    args.num_bits = bits;
    return choice.search_for(args).norm;
  });
}

bool names_importance_observer(const QuantizationFields& fields) {
  std::vector<std::string> names;
  if (fields.weight_observer) {
    names.push_back(*fields.weight_observer);
  } else if (const Json* name = fields.observer.is_object() ? fields.observer.find("weights") : nullptr;
             name != nullptr && name->is_string()) {
    names.push_back(name->as_string());
  } else if (fields.config_groups.is_object()) {
    for (const auto& [group, value] : fields.config_groups.as_object()) names.push_back(observer_of(value));
  }
  return std::any_of(names.begin(), names.end(),
                     [](const std::string& name) { return !name.empty() && observers::needs_importance(name); });
}

WeightGrids::WeightGrids(std::span<const LinearTask> tasks, const ScaleChoice& choice, const Statistics& statistics)
    : tasks_(tasks) {
  const at::Tensor importance_I =
      choice.by_inputs && statistics.gram_II.defined() ? importance(statistics.gram_II) : at::Tensor();
  bool any = false;
  for (const LinearTask& task : tasks) {
    const QuantizationArgs& args = *task.scheme->weights;
    const bool by_scheme = args.observer && !choice.asked,
               by_range = by_scheme && observers::is_min_max(args, observers::Role::Weight);
    searches_.push_back(choice.search_for(args));
    searches_.back().importance_I = importance_I;
    if (by_range) searches_.back().kind = solvers::ScaleSearch::Kind::Absmax;  // the same formulas
    observers_.push_back(by_scheme && !by_range ? observed(task, statistics) : nullptr);
    any = any || (observers_.back() != nullptr && args.strategy == Strategy::TensorGroup);
  }
  const bool given =
      std::any_of(tasks.begin(), tasks.end(), [](const LinearTask& task) { return task.global_scale.defined(); });
  global_scale_ = any && !given ? shared_scale(tasks, observers_) : global_scale_of(tasks);
}

solvers::Grid WeightGrids::grid(size_t index, const at::Tensor& g_idx_I) const {
  const LinearTask& task = tasks_[index];
  const solvers::GridSpec spec = grid_spec(*task.scheme->weights, task.stored_dtype);
  const at::Tensor global_scale = spec.scale_dtype == at::kFloat8_e4m3fn ? global_scale_ : at::Tensor();
  const bool searched = observers_[index] == nullptr && searches_[index].kind == solvers::ScaleSearch::Kind::PNorm;
  if (searched && !g_idx_I.defined() && !global_scale.defined() && fits_device(task)) {
    return solvers::DeviceSolver(ops::device_kernels()).find_grid(task.weight_OI, spec, searches_[index]);
  }
  if (observers_[index] == nullptr)
    return solvers::find_grid(task.weight_OI.to(at::kCPU), spec, searches_[index], g_idx_I, global_scale);
  SWAGE_CHECK(!g_idx_I.defined(), Unsupported, task.name, ": observer ", *task.scheme->weights->observer,
              " with actorder group");
  const observers::QuantizationParameters found =
      observers_[index]->scale_and_zero_point(task.stored_dtype, global_scale);
  return {spec, found.scale, found.zero_point, {}, global_scale};
}

}  // namespace swage::modifiers
