// A compressing job as asked for: source, target, what is done, and within which bounds.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

#include "swage/base/device_map.h"
#include "swage/data/hub.h"
#include "swage/modifiers/chain.h"

namespace swage::pipeline {

class PassWatch;

struct CompressJob {
  std::filesystem::path source;
  std::filesystem::path target;
  modifiers::Chain chain;    // what is done; its recipe lives as long as the job
  std::string recipe_yaml;   // what is done: a part of the run's identity
  std::string saved_recipe;  // the same and how the run was made, as recipe.yaml of the output
  std::string recipe_file;   // names the recipe in errors; empty: it came from the command line

  std::string source_id;  // the hub id that the source was named by; empty: a folder
  std::string data_file;  // or a data set's name, see data/data_source.h; empty: none given
  data::HubOptions hub;   // where data sets by name come from
  std::string text_column;
  int64_t num_calibration_samples = 512;
  int64_t max_seq_length = 2048;
  bool pack = true;
  bool shuffle = false;
  bool moe_routed = false;

  DeviceMap device_map = DeviceMap::None;
  uint64_t max_memory_bytes = 0;         // of the plan's peak; 0: no limit
  std::filesystem::path offload_folder;  // for activations; empty: they stay in memory
  uint64_t shard_bytes = uint64_t{5} << 30;
  bool overwrite = false;
  bool resume = true;    // keep what is finished when the run is interrupted, and go on with what an earlier one kept
  bool restart = false;  // throw away what an earlier one kept
  bool dry_run = false;
  bool check = true;
  bool model_free = false;  // from the shards alone; see model_free.h
  PassWatch* watch = nullptr;  // tests look at a calibrated pass through it; see schedule/sequential.h
};

}  // namespace swage::pipeline
