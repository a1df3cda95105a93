// The recipe that options ask for: a file, or one modifier with its fields, after rotations or the pruning of experts if there are any.
#pragma once
#include "swage/base/error.h"
#include "swage/base/file.h"
#include "swage/recipe/recipe.h"

namespace swage::api {

template <class Options>
recipe::Recipe recipe_of(const Options& options) {
  if (options.recipe_file.empty()) return recipe::recipe_of_method(options.method, options.method_fields, options.rotate, options.prune_experts);
  SWAGE_CHECK(options.rotate.empty(), InvalidArgument, "--recipe says what is done: put a SpinQuantModifier into ", options.recipe_file, " instead of --rotate");
  SWAGE_CHECK(!options.prune_experts, InvalidArgument, "--recipe says what is done: put a REAPPruningModifier into ", options.recipe_file, " instead of --prune-experts");
  return recipe::parse_recipe(read_regular_file(options.recipe_file, kMaxRecipeBytes), options.recipe_file);
}

}  // namespace swage::api
