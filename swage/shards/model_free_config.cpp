#include "swage/shards/model_free_config.h"

#include <algorithm>
#include <set>

#include "swage/base/error.h"
#include "swage/scheme/matching.h"

namespace swage::pipeline {
namespace {

scheme::ModuleName name_of(const SourceModule& module) { return {module.info.name, module.info.class_name}; }

// A name that the config's groups do not have.
std::string fresh_group(const scheme::QuantizationConfig& config) {
  size_t number = config.groups.size();
  const auto taken = [&] {
    return std::any_of(config.groups.begin(), config.groups.end(), [&](const auto& group) { return group.first == cat("group_", number); });
  };
  while (taken()) ++number;
  return cat("group_", number);
}

}  // namespace

std::optional<scheme::QuantizationConfig> existing_quantization(const checkpoint::Reader& reader) {
  const Json* json = scheme::find_quantization_config(reader.config());
  if (json == nullptr) return {};
  try {
    const scheme::QuantizationConfig config = scheme::parse_quantization_config(*json);
    const auto online = [](const auto& group) { return group.second.has_online(); };
    SWAGE_CHECK(std::none_of(config.transforms.begin(), config.transforms.end(), online), Unsupported,
                "its transform_config has activations multiplied with matrices while the model runs, which a model-free run does not carry over");
    return config;
  } catch (Error& e) {
    e.add_context(reader.folder().string());
    throw;
  }
}

scheme::QuantizationConfig merged_config(const std::optional<scheme::QuantizationConfig>& existing, const SourceModules& modules, const Assignment& assignment) {
  scheme::QuantizationConfig merged;
  if (!existing) {
    for (const scheme::Scheme& scheme : assignment.schemes) {
      if (scheme.weights) merged.groups.emplace_back(cat("group_", merged.groups.size()), scheme);
    }
    merged.ignore = assignment.ignore;
    return merged;
  }
  merged = *existing;
  merged.format.clear();
  for (size_t i = 0; i < assignment.schemes.size(); ++i) {
    scheme::Scheme scheme = assignment.schemes[i];
    scheme.targets.clear();
    for (const SourceModule& module : modules.modules) {
      const auto found = assignment.scheme_of.find(module.info.name);
      if (found != assignment.scheme_of.end() && found->second == i) scheme.targets.push_back(module.info.name);
    }
    if (!scheme.targets.empty()) merged.groups.emplace_back(fresh_group(merged), scheme);
  }
  const auto names_a_quantized = [&](const std::string& pattern) {
    const scheme::Patterns patterns({pattern});
    return std::any_of(modules.modules.begin(), modules.modules.end(), [&](const SourceModule& module) {
      return assignment.find(module.info.name) != nullptr && patterns.match(name_of(module));
    });
  };
  std::erase_if(merged.ignore, names_a_quantized);
  const scheme::SchemeMatcher matcher(merged.groups, merged.ignore);
  for (const SourceModule& module : modules.modules) {
    if (!module.is_quantized && assignment.find(module.info.name) == nullptr && matcher.find(name_of(module)) != nullptr) merged.ignore.push_back(module.info.name);
  }
  return merged;
}

}  // namespace swage::pipeline
