// Rewrites a quantized checkpoint in another format without changing a weight: the codes, scales and zero points of the
// source in the target's layout, or their values as plain floats. Nothing is calibrated, no model is run, so any
// architecture will do.
#pragma once
#include <filesystem>

#include "swage/base/context.h"
#include "swage/base/json.h"
#include "swage/recipe/run_options.h"

namespace swage::pipeline {

struct ConvertJob : ConvertChoice {
  std::filesystem::path source;
  std::filesystem::path target;
};

// One module is in memory at a time. Every module is read back from what was written and compared before the folder
// appears. Returns {"from", "to", "modules", "source_bytes", "output_bytes", "warnings", "seconds", ...}.
// Error(InvalidArgument) naming module and reason if the target cannot hold the source, or the source is not quantized.
Json run_convert(const ConvertJob& job, const Context& context);

}  // namespace swage::pipeline
