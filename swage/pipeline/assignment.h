// Which module gets which scheme: a modifier's targets and ignore, matched against a model's modules.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "swage/model/model.h"
#include "swage/modifiers/modifier.h"
#include "swage/scheme/quantization.h"

namespace swage::pipeline {

struct Assignment {
  std::vector<scheme::Scheme> schemes;      // group_0, group_1, ... with their formats
  std::vector<std::string> scheme_names;    // for reports: "W4A16 g64"
  std::map<std::string, size_t> scheme_of;  // quantized module -> index into `schemes`
  std::vector<std::string> ignore;          // for quantization_config: Linear modules left as they are
  std::optional<scheme::QuantizationArgs> kv_cache;

  const scheme::Scheme* find(const std::string& module) const;
  // Whether scales of activations or of the KV cache have to be found on data.
  bool needs_calibration() const;
};

// Error(InvalidArgument) for a pattern of targets or ignore that matches nothing, for a modifier that leaves nothing to
// quantize, and for group sizes that do not divide a module's columns: that one lists the modules and the sizes that fit.
// Error(Unsupported) for modules that cannot be quantized yet (embeddings, the head).
Assignment assign_schemes(const modifiers::Modifier& modifier, const model::Model& model);
// The same for modules that no Model describes.
Assignment assign_schemes(const modifiers::Modifier& modifier, const std::vector<model::ModuleInfo>& modules, bool tied_embeddings);

}  // namespace swage::pipeline
