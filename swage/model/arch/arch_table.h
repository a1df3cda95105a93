// The table of architectures: model_type of config.json -> how it is described.
#pragma once
#include <string_view>
#include <vector>

#include "swage/model/arch/architectures.h"

namespace swage::model {

struct Architecture {
  std::string_view model_type;
  graph::ModelProgram (*describe)(const ConfigFields& config, const checkpoint::WeightSource& weights);
};

// Sorted by model_type.
const std::vector<Architecture>& architectures();

}  // namespace swage::model
