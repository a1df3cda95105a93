// Architectures whose sizes are known although no forward pass of them is written: enough to say what compressing them takes.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "swage/base/json.h"
#include "swage/model/shape.h"

namespace swage::model {

// The sizes of a model by its config; nothing if its model_type is not in the table. `not_run` says why it cannot be calibrated.
// Error(CorruptData) naming the field for a config that makes no sense.
std::optional<ModelShape> known_sizes(const Json& config);

// The model_type values of the table, sorted.
std::vector<std::string> sized_model_types();

}  // namespace swage::model
