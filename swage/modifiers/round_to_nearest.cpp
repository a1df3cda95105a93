#include "swage/modifiers/round_to_nearest.h"

#include "swage/base/fields.h"
#include "swage/modifiers/solver_glue.h"
#include "swage/modifiers/spelled_fields.h"

namespace swage::modifiers {

RoundToNearest::RoundToNearest(QuantizationConfig config, const std::string& source)
    : config_(std::move(config)),
      scales_(scale_choice(config_.scale_search, "absmax", config_.norm, source)) {}

Json RoundToNearest::config() const {
  QuantizationConfig out = config_;
  const std::vector<scheme::QuantizationArgs> weights = weights_of(out.quantization);
  spell_out(out.quantization);
  if (out.scale_search || observed(out.quantization, weights) != Observed::None) return write_fields(out);
  out.scale_search = name_of(scales_);
  out.norm = norm_of(scales_, widths_of(weights));
  return write_fields(out);
}

bool RoundToNearest::needs_calibration() const {
  return scales_.by_inputs || (!scales_.asked && names_importance_observer(config_.quantization));
}

std::vector<SolvedLinear> RoundToNearest::quantize(std::span<const LinearTask> tasks,
                                                   const Statistics& statistics) const {
  const WeightGrids grids(tasks, scales_, statistics);
  std::vector<SolvedLinear> out;
  for (size_t i = 0; i < tasks.size(); ++i) out.push_back(round_to_nearest(tasks[i], grids.grid(i)));
  return out;
}

Cost RoundToNearest::cost(std::span<const LinearShape> linears, const CostSetting& setting) const {
  return rounding_cost(linears, scales_.kind == solvers::ScaleSearch::Kind::PNorm, setting);
}

}  // namespace swage::modifiers
