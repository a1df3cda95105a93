// Rewrites a quantized checkpoint in another format without changing a weight: the codes, scales and zero points of the
// source in the target's layout, or their values as plain floats. Nothing is calibrated, no model is run, so any
// architecture will do.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

#include "swage/base/context.h"
#include "swage/base/json.h"

namespace swage::pipeline {

struct ConvertJob {
  std::filesystem::path source;
  std::filesystem::path target;
  std::string to;     // "pack-quantized", "gptq", "gptq_v2", "awq", "dense"
  std::string dtype;  // of the weights with "dense": "bf16", "f16", "f32"; empty: that of the source's other weights
  bool allow_rounding = false;  // store scales in the target's type also where it does not hold them exactly
  uint64_t shard_bytes = uint64_t{5} << 30;
  bool overwrite = false;
};

// One module is in memory at a time. Every module is read back from what was written and compared before the folder
// appears. Returns {"from", "to", "modules", "source_bytes", "output_bytes", "warnings", "seconds", ...}.
// Error(InvalidArgument) naming module and reason if the target cannot hold the source, or the source is not quantized.
Json run_convert(const ConvertJob& job, const Context& context);

}  // namespace swage::pipeline
