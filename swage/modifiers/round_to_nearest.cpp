#include "swage/modifiers/round_to_nearest.h"

#include "swage/base/fields.h"
#include "swage/modifiers/solver_glue.h"

namespace swage::modifiers {

RoundToNearest::RoundToNearest(QuantizationConfig config, const std::string& source)
    : config_(std::move(config)), search_(scale_search(config_.scale_search, config_.norm, source)) {}

Json RoundToNearest::config() const { return write_fields(config_); }

std::vector<SolvedLinear> RoundToNearest::quantize(std::span<const LinearTask> tasks, const Statistics&) const {
  std::vector<SolvedLinear> out;
  for (const LinearTask& task : tasks) {
    const solvers::GridSpec spec = grid_spec(*task.scheme->weights, task.stored_dtype);
    const solvers::Grid grid = solvers::find_grid(task.weight_OI, spec, search_);
    const at::Tensor codes_OI = solvers::quantize_to_grid(task.weight_OI, grid);
    SolvedLinear& solved = out.emplace_back();
    solved.weight = to_stored(codes_OI, grid);
    if (!task.measure_error) continue;
    const WeightError error = weight_error(task.weight_OI, codes_OI, grid);
    report_error(error.difference, error.whole, 1, solved);
  }
  return out;
}

}  // namespace swage::modifiers
