#include "swage/recipe/recipe.h"

#include "swage/base/error.h"
#include "swage/base/yaml.h"

namespace swage::recipe {
namespace {

void add_modifiers(const Json& group, const std::string& where, Recipe& out) {
  SWAGE_CHECK(group.is_object(), InvalidArgument, where, ": expected modifiers by name");
  for (const auto& [name, fields] : group.as_object()) {
    SWAGE_CHECK(fields.is_object() || fields.is_null(), InvalidArgument, where, ": ", name, ": expected fields by name");
    out.modifiers.push_back(modifiers::make_modifier(name, fields.is_null() ? Json::object() : fields, where));
  }
}

void add_stage(const std::string& stage, const Json& groups, const std::string& source, Recipe& out) {
  const std::string where = cat(source, ": ", stage);
  SWAGE_CHECK(groups.is_object(), InvalidArgument, where, ": expected groups of modifiers (default_modifiers)");
  for (const auto& [name, group] : groups.as_object()) {
    SWAGE_CHECK(name.ends_with("_modifiers") || name == "modifiers", InvalidArgument, where, ": \"", name,
                "\": expected a name that ends in _modifiers");
    add_modifiers(group, cat(where, ": ", name), out);
  }
}

}  // namespace

Recipe parse_recipe(std::string_view text, const std::string& source) {
  const Json root = parse_yaml(text, source);
  SWAGE_CHECK(root.is_object(), InvalidArgument, source, ": expected stages by name (default_stage)");
  Recipe out;
  for (const auto& [name, value] : root.as_object()) {
    if (name.ends_with("_stage")) {
      add_stage(name, value, source, out);
    } else if (name.ends_with("_modifiers")) {
      add_modifiers(value, cat(source, ": ", name), out);
    } else {
      throw Error(ErrorKind::InvalidArgument, cat(source, ": \"", name, "\": expected a name that ends in _stage or _modifiers"));
    }
  }
  SWAGE_CHECK(!out.modifiers.empty(), InvalidArgument, source, ": names no modifier");
  return out;
}

Recipe single_modifier(std::string_view method, const Json& fields, const std::string& source) {
  Recipe out;
  out.modifiers.push_back(modifiers::make_modifier(method, fields, source));
  return out;
}

std::string to_yaml(const Recipe& recipe) {
  Json group = Json::object();
  for (const auto& modifier : recipe.modifiers) group.set(modifier->name(), modifier->config());
  Json stage, root;
  stage.set("default_modifiers", std::move(group));
  root.set("default_stage", std::move(stage));
  return dump_yaml(root);
}

}  // namespace swage::recipe
