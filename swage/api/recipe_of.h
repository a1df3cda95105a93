// The recipe that options ask for: a file, or one modifier with its fields, after rotations or the pruning of experts
// if there are any.
#pragma once
#include <string>

#include "swage/base/error.h"
#include "swage/base/file.h"
#include "swage/recipe/recipe.h"
#include "swage/recipe/run_options.h"
#include "swage/recipe/shipped.h"

namespace swage::api {

// Of a file, or of a shipped recipe by its name.
inline std::string recipe_text(const std::string& name) {
  const bool found = is_there(name);
  if (const auto shipped = recipe::shipped_recipe(name); shipped && !found) return std::string(*shipped);
  SWAGE_CHECK(found, Io, name, ": no such file, and no shipped recipe of this name; shipped are ",
              recipe::shipped_recipe_names());
  return read_regular_file(name, kMaxRecipeBytes);
}

inline recipe::Recipe recipe_of(const RecipeChoice& options) {
  if (options.recipe_file.empty())
    return recipe::recipe_of_method(options.method, options.method_fields, options.rotate, options.prune_experts);
  SWAGE_CHECK(options.rotate.empty(), InvalidArgument, "--recipe says what is done: put a SpinQuantModifier into ",
              options.recipe_file, " instead of --rotate");
  SWAGE_CHECK(!options.prune_experts, InvalidArgument, "--recipe says what is done: put a REAPPruningModifier into ",
              options.recipe_file, " instead of --prune-experts");
  return recipe::parse_recipe(recipe_text(options.recipe_file), options.recipe_file, options.method_fields);
}

}  // namespace swage::api
