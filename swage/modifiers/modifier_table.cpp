#include <algorithm>
#include <array>
#include <string_view>
#include <tuple>
#include <type_traits>

#include "swage/base/error.h"
#include "swage/base/fields.h"
#include "swage/modifiers/awq.h"
#include "swage/modifiers/gptq.h"
#include "swage/modifiers/magnitude_pruning.h"
#include "swage/modifiers/modifier.h"
#include "swage/modifiers/quip.h"
#include "swage/modifiers/reap.h"
#include "swage/modifiers/round_to_nearest.h"
#include "swage/modifiers/smooth_quant.h"
#include "swage/modifiers/sparse_gpt.h"
#include "swage/modifiers/spin_quant.h"
#include "swage/modifiers/wanda.h"

namespace swage::modifiers {
namespace {

// Fields of LLM Compressor's recipes that say how it runs (memory, batches, its training hooks, what its schedules
// keep), not what comes out.
constexpr std::array<std::string_view, 14> kOnlyHowItRuns = {"batched_quantization",
                                                             "calibration_function",
                                                             "end",
                                                             "group",
                                                             "index",
                                                             "num_calibration_steps",
                                                             "offload_device",
                                                             "offload_hessians",
                                                             "requires_calibration_data",
                                                             "scheduler_args",
                                                             "sequential_targets",
                                                             "sequential_update",
                                                             "start",
                                                             "update"};

// Its modifiers end the names of what they keep while they run in an underscore, and save them like fields.
bool only_how_it_runs(const std::string& field) {
  return field.ends_with('_') || std::find(kOnlyHowItRuns.begin(), kOnlyHowItRuns.end(), field) != kOnlyHowItRuns.end();
}

// A recipe saved after its run holds the matrices that its rotations came to.
bool repeats_rotations(const Json& fields, const std::string& field) {
  return field == "transform_config" && fields.find("rotations") != nullptr;
}

// {preset: targets} as the config_groups that it stands for.
Json groups_of(const Json& targets_of_preset) {
  Json groups = Json::object();
  for (const auto& [preset, targets] : targets_of_preset.as_object()) {
    Json list = targets;
    if (!targets.is_array()) {
      list = Json::array();
      list.push_back(targets);
    }
    groups.set(preset, std::move(list));
  }
  return groups;
}

Json what_is_asked(const Json& fields, const std::string& source) {
  if (!fields.is_object()) return fields;
  Json::Object asked;  // names of an object's members differ, so that none has to be looked for
  for (const auto& [name, value] : fields.as_object()) {
    if (name == "actorder" && value.is_null()) {
      asked.emplace_back(name, "none");  // there, null is a value
    } else if (name == "scheme" && value.is_object()) {
      SWAGE_CHECK(fields.find("config_groups") == nullptr || fields.at("config_groups").is_null(), InvalidArgument,
                  source, ": give a scheme or config_groups, not both");
      asked.emplace_back("config_groups", groups_of(value));
    } else if (!value.is_null() && !only_how_it_runs(name) && !repeats_rotations(fields, name)) {
      asked.emplace_back(name, value);
    }
  }
  return Json(std::move(asked));
}

template <class Config>
std::unique_ptr<Modifier> make(const Json& fields, const std::string& source) {
  Config config;
  read_fields(what_is_asked(fields, source), source, config);
  return std::make_unique<typename Config::Modifier>(std::move(config), source);
}

// Collects the names of a config's fields.
struct NameCollector {
  std::vector<std::string> names;
  template <class T>
  void operator()(std::string_view name, T&, std::string_view) {
    names.emplace_back(name);
  }
};

template <class Config>
std::vector<std::string> names_of() {
  Config config;
  NameCollector collector;
  config.visit(collector);
  return collector.names;
}

template <class... Configs>
constexpr auto rows_of(std::type_identity<std::tuple<Configs...>>) {
  return std::array{ModifierRow{Configs::kName.recipe, Configs::kName.method, make<Configs>, names_of<Configs>}...};
}
constexpr auto kTable = rows_of(std::type_identity<ModifierConfigs>());

// Modifiers of LLM Compressor that swage has under another name or not at all, and what to use.
struct Elsewhere {
  std::string_view name, instead;
};
constexpr std::array kElsewhere = {
    Elsewhere{"AutoRoundModifier", "GPTQModifier with quality: best spends the time on better codes, too"},
    Elsewhere{"IMatrixGatherer", "weight_observer: imatrix_mse of the modifier that rounds gathers what it needs"},
};

}  // namespace

std::span<const ModifierRow> modifier_table() { return kTable; }

bool is_accepted_field(const ModifierRow& row, const std::string& field) {
  const std::vector<std::string> names = row.fields();
  return only_how_it_runs(field) || std::find(names.begin(), names.end(), field) != names.end();
}

std::vector<std::string> ignored_fields(const Json& fields) {
  std::vector<std::string> out;
  if (!fields.is_object()) return out;
  for (const auto& [name, value] : fields.as_object()) {
    if ((only_how_it_runs(name) || repeats_rotations(fields, name)) && !value.is_null()) out.push_back(name);
  }
  return out;
}

std::unique_ptr<Modifier> make_modifier(std::string_view name, const Json& fields, const std::string& source) {
  std::vector<std::string> names;
  for (const ModifierRow& row : kTable) {
    if (row.name == name || row.method == name) return row.make(fields, cat(source, ": ", row.name));
    names.emplace_back(row.name);
    names.emplace_back(row.method);
  }
  for (const Elsewhere& row : kElsewhere) {
    SWAGE_CHECK(row.name != name, Unsupported, source, ": swage has no ", name, "; ", row.instead);
  }
  const std::string near = nearest_name(name, names);
  throw Error(ErrorKind::InvalidArgument, cat(source, ": swage has no modifier or method \"", name, "\"",
                                              near.empty() ? "" : cat("; did you mean \"", near, "\"?")));
}

}  // namespace swage::modifiers
