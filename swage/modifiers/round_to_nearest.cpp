#include "swage/modifiers/round_to_nearest.h"

#include "swage/base/fields.h"
#include "swage/modifiers/solver_glue.h"

namespace swage::modifiers {

RoundToNearest::RoundToNearest(QuantizationConfig config, const std::string& source)
    : config_(std::move(config)), search_(scale_search(config_.scale_search, config_.norm, source)) {}

Json RoundToNearest::config() const { return write_fields(config_); }

std::vector<SolvedLinear> RoundToNearest::quantize(std::span<const LinearTask> tasks, const Statistics&) const {
  const at::Tensor global_scale = global_scale_of(tasks);
  std::vector<SolvedLinear> out;
  for (const LinearTask& task : tasks) out.push_back(round_to_nearest(task, search_, global_scale));
  return out;
}

}  // namespace swage::modifiers
