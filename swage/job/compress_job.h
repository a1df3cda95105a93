// A compressing job as asked for: source, target, what is done, and within which bounds.
#pragma once
#include <filesystem>
#include <string>

#include "swage/data/hub.h"
#include "swage/modifiers/chain.h"
#include "swage/recipe/run_options.h"

namespace swage::pipeline {

class PassWatch;

struct CompressJob : RunOptions {
  std::filesystem::path source;
  std::filesystem::path target;
  modifiers::Chain chain;    // what is done; its recipe lives as long as the job
  std::string recipe_yaml;   // what is done: a part of the run's identity
  std::string saved_recipe;  // the same and how the run was made, as recipe.yaml of the output
  std::string recipe_file;   // names the recipe in errors; empty: it came from the command line

  std::string source_id;       // the hub id that the source was named by; empty: a folder
  data::HubOptions hub;        // where data sets by name come from
  PassWatch* watch = nullptr;  // tests look at a calibrated pass through it; see schedule/sequential.h
};

}  // namespace swage::pipeline
