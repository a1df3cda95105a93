// The quantization_config of a model-free run: its groups, added to those that the source has.
#pragma once
#include <optional>

#include "swage/checkpoint/reader.h"
#include "swage/resolve/assignment.h"
#include "swage/scheme/config_json.h"
#include "swage/shards/model_free_modules.h"

namespace swage::pipeline {

// The source's quantization_config, if it has one. Error(Unsupported) for one that is not compressed-tensors'.
std::optional<scheme::QuantizationConfig> existing_quantization(const checkpoint::Reader& reader);

// Without an existing config: the assignment's groups and ignore list. Else the existing one, with the new groups after
// its own. New groups then target the exact names of their modules, which come before anything else in matching; ignore
// loses what is quantized now, and names each dense linear that a group would match.
scheme::QuantizationConfig merged_config(const std::optional<scheme::QuantizationConfig>& existing,
                                         const SourceModules& modules, const Assignment& assignment);

}  // namespace swage::pipeline
