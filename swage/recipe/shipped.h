// The recipes of the folder recipes/, which are part of the program.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace swage::recipe {

// Name, without ".yaml", and text; sorted. Made from the files by cmake/shipped_recipes.cmake.
const std::vector<std::pair<std::string_view, std::string_view>>& shipped_recipes();

// By its name, with or without ".yaml".
std::optional<std::string_view> shipped_recipe(std::string_view name);
// "fp8-dynamic, w4a16, ..."
std::string shipped_recipe_names();

}  // namespace swage::recipe
