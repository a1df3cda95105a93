#include "swage/scheme/transform.h"

#include <algorithm>
#include <array>
#include <initializer_list>

#include "swage/base/error.h"

namespace swage::scheme {
namespace {

struct LocationName {
  TransformLocation location;
  std::string_view name;
};

constexpr std::array kLocations = {LocationName{TransformLocation::Input, "input"},
                                   LocationName{TransformLocation::WeightInput, "weight_input"},
                                   LocationName{TransformLocation::WeightOutput, "weight_output"},
                                   LocationName{TransformLocation::Output, "output"},
                                   LocationName{TransformLocation::KeyCache, "k_cache"},
                                   LocationName{TransformLocation::Queries, "q_attn"}};
constexpr std::array<std::string_view, 3> kTypes = {"hadamard", "random-hadamard", "random-matrix"};

template <class Read>
auto within_transform(std::string_view where, Read read) {
  try {
    return read();
  } catch (Error& error) {
    error.add_context(where);
    throw;
  }
}

void check_transform_keys(const Json& object, std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : object.as_object()) {
    SWAGE_CHECK(std::find(known.begin(), known.end(), key) != known.end(), CorruptData, "unknown key \"", key, "\"");
  }
}

// A list, or one text in its place.
std::vector<std::string> texts_of(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  if (value == nullptr || value->is_null()) return {};
  return within_transform(key, [&]() -> std::vector<std::string> {
    if (value->is_string()) return {value->as_string()};
    std::vector<std::string> out;
    for (const Json& text : value->as_array()) out.push_back(text.as_string());
    return out;
  });
}

TransformLocation location_named(const std::string& name) {
  for (const LocationName& known : kLocations) {
    if (known.name == name) return known.location;
  }
  throw Error(ErrorKind::CorruptData,
              cat("location \"", name, "\": expected input, weight_input, weight_output, output, k_cache or q_attn"));
}

TransformArgs parse_transform_args(const Json& json) {
  check_transform_keys(json, {"targets", "location", "inverse", "ignore"});
  json.at("targets");
  TransformArgs out;
  out.targets = texts_of(json, "targets");
  out.location = location_named(json.at("location").as_string());
  out.inverse = json.get_bool("inverse", false);
  out.ignore = texts_of(json, "ignore");
  return out;
}

TransformScheme parse_scheme(const Json& json) {
  check_transform_keys(json, {"type", "apply", "randomize", "requires_grad", "head_dim", "precision"});
  TransformScheme out;
  out.type = json.at("type").as_string();
  SWAGE_CHECK(std::find(kTypes.begin(), kTypes.end(), out.type) != kTypes.end(), Unsupported, "type \"", out.type,
              "\": expected hadamard, random-hadamard or random-matrix");
  if (const Json* apply = json.find("apply")) {
    within_transform("apply", [&] {
      for (const Json& args : apply->as_array()) out.apply.push_back(parse_transform_args(args));
      return 0;
    });
  }
  out.randomize = json.get_bool("randomize", false);
  out.requires_grad = json.get_bool("requires_grad", false);
  const int64_t head_dim = json.get_int("head_dim", 0);
  const bool has_head_dim = json.find("head_dim") != nullptr && !json.at("head_dim").is_null();
  SWAGE_CHECK(!has_head_dim || head_dim > 0, CorruptData, "head_dim ", head_dim, ": expected columns, 1 or more");
  if (has_head_dim) out.head_dim = head_dim;
  out.precision = json.get_string("precision", out.precision);
  if (!out.precision.starts_with("torch.")) out.precision = "torch." + out.precision;
  return out;
}

Json strings(const std::vector<std::string>& texts) {
  Json array = Json::array();
  for (const std::string& text : texts) array.push_back(text);
  return array;
}

Json to_json(const TransformScheme& scheme) {
  Json apply = Json::array();
  for (const TransformArgs& args : scheme.apply) {
    Json one = Json::object();
    one.set("ignore", strings(args.ignore));
    one.set("inverse", args.inverse);
    one.set("location", name_of(args.location));
    one.set("targets", strings(args.targets));
    apply.push_back(std::move(one));
  }
  Json json = Json::object();
  json.set("apply", std::move(apply));
  json.set("head_dim", scheme.head_dim ? Json(*scheme.head_dim) : Json());
  json.set("precision", scheme.precision);
  json.set("randomize", scheme.randomize);
  json.set("requires_grad", scheme.requires_grad);
  json.set("type", scheme.type);
  return json;
}

}  // namespace

std::string_view name_of(TransformLocation location) {
  const auto found = std::find_if(kLocations.begin(), kLocations.end(),
                                  [&](const LocationName& known) { return known.location == location; });
  return found->name;
}

bool is_online(TransformLocation location) {
  return location != TransformLocation::WeightInput && location != TransformLocation::WeightOutput;
}

bool TransformScheme::has_online() const {
  return std::any_of(apply.begin(), apply.end(), [](const TransformArgs& args) { return is_online(args.location); });
}

Json to_json(const TransformGroups& groups) {
  Json json = Json::object();
  if (groups.empty()) return json;
  Json by_name = Json::object();
  for (const auto& [name, scheme] : groups) by_name.set(name, to_json(scheme));
  json.set("config_groups", std::move(by_name));
  return json;
}

TransformGroups parse_transform_config(const Json& json) {
  TransformGroups out;
  check_transform_keys(json, {"config_groups"});
  const Json* groups = json.find("config_groups");
  if (groups == nullptr || groups->is_null()) return out;
  for (const auto& [name, group] : groups->as_object()) {
    out.emplace_back(name, within_transform(name, [&, &group = group] { return parse_scheme(group); }));
  }
  return out;
}

TransformMatcher::TransformMatcher(TransformGroups groups) : groups_(std::move(groups)) {
  for (size_t g = 0; g < groups_.size(); ++g) {
    const std::vector<TransformArgs>& apply = groups_[g].second.apply;
    for (size_t a = 0; a < apply.size(); ++a) {
      if (is_online(apply[a].location))
        entries_.push_back({g, a, Patterns(apply[a].targets), Patterns(apply[a].ignore)});
    }
  }
}

std::vector<std::string> TransformMatcher::targets_of(TransformLocation location) const {
  std::vector<std::string> out;
  for (const Entry& entry : entries_) {
    const TransformArgs& args = groups_[entry.group].second.apply[entry.args];
    if (args.location != location) continue;
    for (const std::string& target : args.targets) {
      if (!target.starts_with("re:")) out.push_back(target);
    }
  }
  return out;
}

std::optional<OnlineTransform> TransformMatcher::find(const ModuleName& module, TransformLocation location) const {
  std::optional<OnlineTransform> out;
  for (const Entry& entry : entries_) {
    const auto& [name, scheme] = groups_[entry.group];
    const TransformArgs& args = scheme.apply[entry.args];
    if (args.location != location || !entry.targets.match(module) || entry.ignore.match(module)) continue;
    SWAGE_CHECK(!out, Unsupported, "transform_config: ", module.name, " has two transforms at its ", name_of(location),
                ", of ", out->group, " and ", name, "; one is supported");
    out = OnlineTransform{name, &scheme, location, args.inverse};
  }
  return out;
}

std::vector<std::string> TransformMatcher::stored_suffixes() const {
  std::vector<std::string> out;
  for (const Entry& entry : entries_) {
    const auto& [name, scheme] = groups_[entry.group];
    out.push_back(OnlineTransform{name, &scheme, scheme.apply[entry.args].location}.suffix());
  }
  return out;
}

}  // namespace swage::scheme
