#include <array>

#include "swage/base/error.h"
#include "swage/base/fields.h"
#include "swage/modifiers/gptq.h"
#include "swage/modifiers/modifier.h"
#include "swage/modifiers/round_to_nearest.h"

namespace swage::modifiers {
namespace {

template <class M, class Config>
std::unique_ptr<Modifier> make(const Json& fields, const std::string& source) {
  Config config;
  read_fields(fields, source, config);
  return std::make_unique<M>(std::move(config), source);
}

constexpr std::array kTable = {
    ModifierRow{"GPTQModifier", "gptq", make<Gptq, GptqConfig>},
    ModifierRow{"QuantizationModifier", "rtn", make<RoundToNearest, QuantizationConfig>},
};

}  // namespace

std::span<const ModifierRow> modifier_table() { return kTable; }

std::unique_ptr<Modifier> make_modifier(std::string_view name, const Json& fields, const std::string& source) {
  std::vector<std::string> names;
  for (const ModifierRow& row : kTable) {
    if (row.name == name || row.method == name) return row.make(fields, cat(source, ": ", row.name));
    names.emplace_back(row.name);
    names.emplace_back(row.method);
  }
  const std::string near = nearest_name(name, names);
  throw Error(ErrorKind::InvalidArgument,
              cat(source, ": swage has no modifier or method \"", name, "\"", near.empty() ? "" : cat("; did you mean \"", near, "\"?")));
}

}  // namespace swage::modifiers
