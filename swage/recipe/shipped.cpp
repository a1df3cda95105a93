#include "swage/recipe/shipped.h"

namespace swage::recipe {

std::optional<std::string_view> shipped_recipe(std::string_view name) {
  constexpr std::string_view kEnd = ".yaml";
  if (name.ends_with(kEnd)) name.remove_suffix(kEnd.size());
  for (const auto& [known, text] : shipped_recipes()) {
    if (known == name) return text;
  }
  return {};
}

std::string shipped_recipe_names() {
  std::string out;
  for (const auto& [name, text] : shipped_recipes()) out += (out.empty() ? "" : ", ") + std::string(name);
  return out;
}

}  // namespace swage::recipe
