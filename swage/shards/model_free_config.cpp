#include "swage/shards/model_free_config.h"

#include <algorithm>
#include <set>

#include "swage/base/error.h"
#include "swage/scheme/fp8_config.h"
#include "swage/scheme/matching.h"

namespace swage::pipeline {
namespace {

scheme::ModuleName name_of(const SourceModule& module) { return {module.info.name, module.info.class_name}; }

// A name that the config's groups do not have.
std::string fresh_group(const scheme::QuantizationConfig& config) {
  size_t number = config.groups.size();
  const auto taken = [&] {
    return std::any_of(config.groups.begin(), config.groups.end(),
                       [&](const auto& group) { return group.first == cat("group_", number); });
  };
  while (taken()) ++number;
  return cat("group_", number);
}

// Exact names behind older patterns, in an order in which every reader finds both.
scheme::NamedSchemes with_existing(const scheme::NamedSchemes& groups, const scheme::QuantizationConfig& existing,
                                   const SourceModules& modules, const Assignment& assignment) {
  std::map<std::string, size_t> wanted;
  std::vector<scheme::ModuleName> names;
  for (size_t i = existing.groups.size(); i < groups.size(); ++i) {
    for (const std::string& module : groups[i].second.targets) wanted[module] = i;
  }
  const scheme::SchemeMatcher matcher(existing.groups, existing.ignore);
  for (const SourceModule& module : modules.modules) {
    names.push_back(name_of(module));
    const scheme::Scheme* found = assignment.find(module.info.name) == nullptr ? matcher.find(names.back()) : nullptr;
    if (found == nullptr || !module.is_quantized) continue;
    const auto same = [&](const auto& group) { return group.second == *found; };
    const auto group = std::find_if(groups.begin(), groups.end(), same);
    if (group != groups.end()) wanted[names.back().name] = size_t(group - groups.begin());
  }
  return scheme::stored_groups(groups, names, wanted);
}

}  // namespace

std::optional<scheme::QuantizationConfig> existing_quantization(const checkpoint::Reader& reader) {
  const Json* json = scheme::find_quantization_config(reader.config());
  if (json == nullptr) return {};
  try {
    SWAGE_CHECK(!scheme::is_fp8_method(*json), Unsupported,
                "quant_method fp8 has no room for other schemes; swage convert --to dense makes a model to start from");
    const scheme::QuantizationConfig config = scheme::parse_quantization_config(*json);
    const auto online = [](const auto& group) { return group.second.has_online(); };
    SWAGE_CHECK(std::none_of(config.transforms.begin(), config.transforms.end(), online), Unsupported,
                "its transform_config has activations multiplied with matrices while the model runs, which a "
                "model-free run does not carry over");
    return config;
  } catch (Error& e) {
    e.add_context(reader.folder().string());
    throw;
  }
}

scheme::QuantizationConfig merged_config(const std::optional<scheme::QuantizationConfig>& existing,
                                         const SourceModules& modules, const Assignment& assignment) {
  scheme::QuantizationConfig merged;
  if (!existing) {
    merged.groups = assignment.groups();
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
  merged.groups = with_existing(merged.groups, *existing, modules, assignment);
  const scheme::SchemeMatcher matcher(merged.groups, merged.ignore);
  for (const SourceModule& module : modules.modules) {
    if (!module.is_quantized && assignment.find(module.info.name) == nullptr &&
        matcher.find(name_of(module)) != nullptr)
      merged.ignore.push_back(module.info.name);
  }
  return merged;
}

}  // namespace swage::pipeline
