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
  Json run = Json::object();  // what it says of the run (RunSettings); options that are given count before it
};

// `text` is YAML or JSON, or Markdown with YAML as its front matter: STAGE_stage -> GROUP_modifiers -> ModifierName ->
// fields. `source` names it in errors. `instead`: fields that count before the recipe's, in every modifier that has
// them; Error(InvalidArgument) for one that none has, and for one that could mean several.
Recipe parse_recipe(std::string_view text, const std::string& source, const Json& instead = Json::object());
// One modifier by its short or recipe name.
Recipe single_modifier(std::string_view method, const Json& fields, const std::string& source);
// What a method means by itself, with these fields: one modifier, or for those that only prepare weights (awq,
// smoothquant, spinquant, quip) the shipped recipe that rounds them too, with the fields instead of its own.
Recipe method(std::string_view name, const Json& fields, const std::string& source);
// The same after these rotations (R1 to R4), as the command line asks for them; none if empty. Before them REAP with
// `prune_experts` as its sparsity, if there is one.
Recipe recipe_of_method(std::string_view name, const Json& fields, const std::vector<std::string>& rotations,
                        std::optional<double> prune_experts);
// As parse_recipe() reads it back.
std::string to_yaml(const Recipe& recipe);

}  // namespace swage::recipe
