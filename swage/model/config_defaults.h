// What transformers takes for fields that a config.json leaves out: swage/model/config_defaults.json, which
// bench/config_defaults.py writes.
#pragma once
#include <string_view>

#include "swage/base/json.h"

namespace swage::model {

// The row of a model_type: "defaults", by field, and perhaps "aliases", other names of fields. Null: not in the table.
const Json* config_defaults(std::string_view model_type);

// The usual value of a field that `config` leaves out under each of its names; null: given, or there is none.
const Json* usual_value(const Json& row, const Json& config, std::string_view key);

// The file's text, which CMake turns into a literal.
extern const char* const kConfigDefaultsJson;

}  // namespace swage::model
