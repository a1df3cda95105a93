#include "swage/model/config_defaults.h"

namespace swage::model {

const Json* config_defaults(std::string_view model_type) {
  static const Json table = parse_json(kConfigDefaultsJson, "config_defaults.json");
  return table.at("model_types").find(model_type);
}

const Json* usual_value(const Json& row, const Json& config, std::string_view key) {
  if (config.find(key) != nullptr) return nullptr;
  if (const Json* aliases = row.find("aliases")) {
    for (const auto& [alias, name] : aliases->as_object()) {
      if (name.as_string() == key && config.find(alias) != nullptr) return nullptr;
    }
  }
  return row.at("defaults").find(key);
}

}  // namespace swage::model
