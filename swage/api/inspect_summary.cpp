#include "swage/api/inspect_summary.h"

#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "swage/scheme/module_place.h"

namespace swage::api {
namespace {

int64_t parameters_of(const Json& module) {
  const Json::Array& shape = module.at("shape").as_array();
  int64_t count = shape.empty() ? 0 : 1;
  for (const Json& size : shape) count *= size.as_int();
  return count;
}

// Modules that have something in common.
struct Group {
  std::string name, schemes, worst_module;
  int64_t modules = 0, parameters = 0, bytes = 0;
  double worst_error = -1;
  bool has_matrix = false;

  // Norms have no scheme to choose: a layer's is that of its matrices.
  void add_scheme(const std::string& scheme, bool matrix) {
    if (matrix == has_matrix && !schemes.empty() && schemes != scheme) {
      schemes = "several";
    } else if (schemes.empty() || (matrix && !has_matrix)) {
      schemes = scheme;
    }
    has_matrix = has_matrix || matrix;
  }

  void add(const Json& module) {
    ++modules;
    parameters += parameters_of(module);
    bytes += module.get_int("bytes", 0);
    add_scheme(module.get_string("scheme", ""), module.at("shape").as_array().size() > 1);
    const double error = module.get_double("relative_error", -1);
    if (error <= worst_error) return;
    worst_error = error;
    worst_module = module.get_string("name", "");
  }
};

class Groups {
 public:
  void add(const std::string& name, const Json& module) {
    const auto [place, is_new] = places_.emplace(name, groups_.size());
    if (is_new) groups_.emplace_back().name = name;
    groups_[place->second].add(module);
  }
  Json to_json(const char* key, bool numbered, int64_t all_bytes) const {
    Json out = Json::array();
    for (const Group& group : groups_) {
      Json one = Json::object();
      one.set(key, numbered ? Json(int64_t(std::stoll(group.name))) : Json(group.name));
      if (std::string_view(key) != "scheme") one.set("scheme", group.schemes);
      one.set("modules", group.modules);
      one.set("parameters", group.parameters);
      one.set("bytes", group.bytes);
      one.set("share", all_bytes > 0 ? double(group.bytes) / double(all_bytes) : 0);
      if (group.parameters > 0) one.set("bits_per_weight", 8.0 * double(group.bytes) / double(group.parameters));
      if (group.worst_error >= 0) {
        one.set("worst_error", group.worst_error);
        one.set("worst_module", group.worst_module);
      }
      out.push_back(std::move(one));
    }
    return out;
  }

 private:
  std::vector<Group> groups_;  // in the order in which they came
  std::unordered_map<std::string, size_t> places_;
};

}  // namespace

Json summary_of(const Json::Array& modules) {
  Groups schemes, kinds, layers;
  int64_t bytes = 0, embedding = 0;
  for (const Json& module : modules) {
    const std::string& name = module.at("name").as_string();
    const scheme::ModulePlace place = scheme::place_of(name);
    schemes.add(module.get_string("scheme", ""), module);
    kinds.add(place.kind, module);
    if (place.layer >= 0) layers.add(std::to_string(place.layer), module);
    bytes += module.get_int("bytes", 0);
    const bool embeds = place.layer < 0 && (name.find("embed") != std::string::npos || name.ends_with("wte"));
    if (embeds || name == "lm_head") embedding += module.get_int("bytes", 0);
  }
  Json out = Json::object();
  out.set("schemes", schemes.to_json("scheme", false, bytes));
  out.set("kinds", kinds.to_json("kind", false, bytes));
  out.set("layers", layers.to_json("layer", true, bytes));
  out.set("embedding_share", bytes > 0 ? double(embedding) / double(bytes) : 0);
  return out;
}

}  // namespace swage::api
