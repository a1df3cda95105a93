// The recipe that options ask for: a file, or one modifier with its fields.
#pragma once
#include <fstream>
#include <sstream>

#include "swage/base/error.h"
#include "swage/recipe/recipe.h"

namespace swage::api {

template <class Options>
recipe::Recipe recipe_of(const Options& options) {
  if (options.recipe_file.empty()) return recipe::single_modifier(options.method, options.method_fields, "--method");
  std::ifstream file(options.recipe_file, std::ios::binary);
  SWAGE_CHECK(file.good(), Io, options.recipe_file, ": cannot be read");
  std::ostringstream text;
  text << file.rdbuf();
  return recipe::parse_recipe(text.str(), options.recipe_file);
}

}  // namespace swage::api
