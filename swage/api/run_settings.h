// What recipe.yaml says of the run it was saved by, against the options of a new one.
#pragma once
#include <algorithm>
#include <string>

#include "swage/base/fields.h"
#include "swage/base/version.h"
#include "swage/recipe/run_options.h"
#include "swage/swage.h"

namespace swage::api {

// The program's option for a field of the saved settings.
inline std::string option_of(std::string field) {
  if (field == "pack") return "no-pack";
  std::replace(field.begin(), field.end(), '_', '-');
  return field;
}

// Fills in what was not given: the same data, rows and seed make the same bytes.
inline void take_run_settings(const Json& said, CompressOptions& options, Context& context) {
  const std::string version = said.get_string("version", kVersion);
  if (version != kVersion) {
    context.log(Severity::Warning, cat("the recipe was saved by swage ", version, ", this is ", kVersion,
                                       ": it means the same, but the last bits may differ"));
  }
  Json left_open = Json::object();
  for (const auto& [field, value] : said.as_object()) {
    const bool given = std::count(options.given.begin(), options.given.end(), option_of(field)) > 0;
    if (!given && (field != "data" || options.data_file.empty())) left_open.set(field, value);
  }
  RunSettings settings{version, int64_t(context.seed), options};
  read_fields(left_open, "recipe: swage", settings);
  static_cast<RunOptions&>(options) = settings.options;
  context.seed = uint64_t(settings.seed);
}

// What is saved: without a text, nothing of how one is looked at.
inline Json run_settings_of(const CompressOptions& options, const Context& context) {
  Json out = write_fields(RunSettings{kVersion, int64_t(context.seed), options});
  if (options.text_column.empty()) out.erase("text_column");
  if (!options.data_file.empty()) return out;
  Json without_text = Json::object();
  for (const char* field : {"version", "seed", "max_shard_size"}) without_text.set(field, out.at(field));
  return without_text;
}

}  // namespace swage::api
