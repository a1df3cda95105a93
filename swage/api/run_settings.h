// What recipe.yaml says of the run it was saved by, against the options of a new one.
#pragma once
#include <algorithm>

#include "swage/base/version.h"
#include "swage/recipe/recipe.h"
#include "swage/swage.h"

namespace swage::api {

// Fills in what was not given: the same data, rows and seed make the same bytes.
inline void take_run_settings(const recipe::RunSettings& run, CompressOptions& options, Context& context) {
  const auto left_open = [&](const char* option) {
    return std::find(options.given.begin(), options.given.end(), option) == options.given.end();
  };
  const auto take = [&](const char* option, const auto& saved, auto& field) {
    if (saved && left_open(option)) field = *saved;
  };
  if (run.version && *run.version != kVersion) {
    context.log(Severity::Warning, cat("the recipe was saved by swage ", *run.version, ", this is ", kVersion,
                                       ": it means the same, but the last bits may differ"));
  }
  take("seed", run.seed, context.seed);
  if (options.data.file.empty()) take("data", run.data, options.data.file);
  take("text-column", run.text_column, options.data.text_column);
  take("num-calibration-samples", run.num_calibration_samples, options.num_calibration_samples);
  take("max-seq-length", run.max_seq_length, options.max_seq_length);
  take("no-pack", run.pack, options.pack);
  take("shuffle", run.shuffle, options.shuffle);
  take("moe-routed", run.moe_routed, options.moe_routed);
  take("max-shard-size", run.max_shard_bytes, options.shard_bytes);
}

inline recipe::RunSettings run_settings_of(const CompressOptions& options, const Context& context) {
  recipe::RunSettings out;
  out.version = kVersion;
  out.seed = int64_t(context.seed);
  out.max_shard_bytes = int64_t(options.shard_bytes);
  if (options.data.file.empty()) return out;
  out.data = options.data.file;
  if (!options.data.text_column.empty()) out.text_column = options.data.text_column;
  out.num_calibration_samples = options.num_calibration_samples;
  out.max_seq_length = options.max_seq_length;
  out.pack = options.pack;
  out.shuffle = options.shuffle;
  out.moe_routed = options.moe_routed;
  return out;
}

}  // namespace swage::api
