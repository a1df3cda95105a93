#include "swage/resolve/reader_names.h"

#include <algorithm>
#include <array>
#include <utility>

namespace swage::pipeline {
namespace {

// Beginnings of names, and what transformers 5 has in their place; the first that fits counts.
constexpr std::array<std::pair<const char*, const char*>, 6> kMoved = {{
    {"language_model.lm_head", "lm_head"},
    {"language_model.model.", "model.language_model."},
    {"visual.", "model.visual."},
    {"vision_tower.", "model.vision_tower."},
    {"vision_model.", "model.vision_model."},
    {"multi_modal_projector", "model.multi_modal_projector"},
}};
constexpr const char *kText = "model.layers.", *kMovedText = "model.language_model.layers.", *kTower = "visual.";

std::string moved(const std::string& name, const std::string& from, const std::string& to) {
  return name.starts_with(from) ? to + name.substr(from.size()) : std::string();
}

}  // namespace

std::vector<std::string> with_names_of_readers(const std::vector<std::string>& names,
                                               const std::vector<graph::ModuleInfo>& modules) {
  const auto is_tower = [](const graph::ModuleInfo& module) { return module.name.starts_with(kTower); };
  const bool beside_tower =
      std::any_of(modules.begin(), modules.end(), is_tower) ||
      std::any_of(names.begin(), names.end(), [](const std::string& name) { return name.starts_with(kTower); });
  std::vector<std::string> out;
  const auto add = [&](const std::string& name) {
    if (!name.empty() && std::find(out.begin(), out.end(), name) == out.end()) out.push_back(name);
  };
  for (const std::string& name : names) {
    add(name);
    for (const auto& [from, to] : kMoved) add(moved(name, from, to));
    if (beside_tower) add(moved(name, kText, kMovedText));
    const auto head = [&](const graph::ModuleInfo& module) { return module.is_head() && module.name == name; };
    if (std::any_of(modules.begin(), modules.end(), head)) add("lm_head");  // GPT-NeoX's "embed_out"
  }
  return out;
}

}  // namespace swage::pipeline
