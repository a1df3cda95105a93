#include "swage/recipe/recipe.h"

#include "swage/base/error.h"
#include "swage/base/yaml.h"

namespace swage::recipe {
namespace {

constexpr const char* kRotationType = "random-hadamard";  // of --rotate

void add_modifiers(const Json& group, const std::string& where, Recipe& out) {
  SWAGE_CHECK(group.is_object(), InvalidArgument, where, ": expected modifiers by name");
  for (const auto& [name, fields] : group.as_object()) {
    SWAGE_CHECK(fields.is_object() || fields.is_null(), InvalidArgument, where, ": ", name, ": expected fields by name");
    out.modifiers.push_back(modifiers::make_modifier(name, fields.is_null() ? Json::object() : fields, where));
    for (const std::string& field : modifiers::ignored_fields(fields)) {
      out.warnings.push_back(cat(where, ": ", name, ": ", field, " says how LLM Compressor runs; it changes nothing here"));
    }
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

// The YAML between the lines "---" that a Markdown file may begin with; else all of it.
std::string_view front_matter(std::string_view text) {
  constexpr std::string_view kFence = "---\n";
  if (!text.starts_with(kFence)) return text;
  const size_t end = text.find("\n---", kFence.size());
  return end == std::string_view::npos ? text : text.substr(kFence.size(), end + 1 - kFence.size());
}

}  // namespace

Recipe parse_recipe(std::string_view text, const std::string& source) {
  const Json root = parse_yaml(front_matter(text), source);
  SWAGE_CHECK(root.is_object(), InvalidArgument, source, ": expected stages by name (default_stage)");
  Recipe out;
  for (const auto& [name, value] : root.as_object()) {
    if (name.ends_with("_stage")) {
      add_stage(name, value, source, out);
    } else if (name.ends_with("_modifiers")) {
      add_modifiers(value, cat(source, ": ", name), out);
    } else if (name == "args") {
      out.warnings.push_back(cat(source, ": args: nothing refers to them; they change nothing"));
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

Recipe recipe_of_method(std::string_view method, const Json& fields, const std::vector<std::string>& rotations, std::optional<double> prune_experts) {
  Recipe out = single_modifier(method, fields, "--method");
  if (prune_experts) {
    Json of_reap = Json::object();
    of_reap.set("sparsity", *prune_experts);
    out.modifiers.insert(out.modifiers.begin(), modifiers::make_modifier("reap", of_reap, "--prune-experts"));
  }
  if (rotations.empty()) return out;
  Json names = Json::array();
  for (const std::string& rotation : rotations) names.push_back(rotation);
  Json of_rotation = Json::object();
  of_rotation.set("rotations", std::move(names));
  of_rotation.set("transform_type", kRotationType);
  out.modifiers.insert(out.modifiers.begin(), modifiers::make_modifier("spinquant", of_rotation, "--rotate"));
  return out;
}

std::string to_yaml(const Recipe& recipe) {
  std::vector<Json> groups(1, Json::object());  // a new one where a name comes again
  for (const auto& modifier : recipe.modifiers) {
    if (groups.back().find(modifier->name()) != nullptr) groups.push_back(Json::object());
    groups.back().set(modifier->name(), modifier->config());
  }
  Json root;
  for (size_t i = 0; i < groups.size(); ++i) {
    Json stage;
    stage.set("default_modifiers", std::move(groups[i]));
    root.set(i == 0 ? std::string("default_stage") : cat("default_", i, "_stage"), std::move(stage));
  }
  return dump_yaml(root);
}

}  // namespace swage::recipe
