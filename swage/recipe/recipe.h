// Recipes: which modifiers run, with which fields. LLM Compressor's YAML or JSON files are read as they are.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "swage/base/json.h"
#include "swage/modifiers/modifier.h"

namespace swage::recipe {

struct Recipe {
  std::vector<std::unique_ptr<modifiers::Modifier>> modifiers;  // in the order they run; never empty
  std::vector<std::string> warnings;                            // what it says that has no effect
};

// `text` is YAML or JSON, or Markdown with YAML as its front matter: STAGE_stage -> GROUP_modifiers -> ModifierName -> fields. `source` names
// it in errors.
Recipe parse_recipe(std::string_view text, const std::string& source);
// One modifier by its short or recipe name.
Recipe single_modifier(std::string_view method, const Json& fields, const std::string& source);
// The same after these rotations (R1 to R4), as the command line asks for them; none if empty. Before them REAP with `prune_experts` as its
// sparsity, if there is one.
Recipe recipe_of_method(std::string_view method, const Json& fields, const std::vector<std::string>& rotations, std::optional<double> prune_experts);
// As parse_recipe() reads it back.
std::string to_yaml(const Recipe& recipe);

}  // namespace swage::recipe
