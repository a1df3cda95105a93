#include <algorithm>
#include <array>
#include <string_view>

#include "swage/base/error.h"
#include "swage/base/fields.h"
#include "swage/modifiers/awq.h"
#include "swage/modifiers/gptq.h"
#include "swage/modifiers/magnitude_pruning.h"
#include "swage/modifiers/modifier.h"
#include "swage/modifiers/round_to_nearest.h"
#include "swage/modifiers/smooth_quant.h"
#include "swage/modifiers/sparse_gpt.h"
#include "swage/modifiers/wanda.h"

namespace swage::modifiers {
namespace {

// Fields of LLM Compressor's recipes that say how it runs (memory, batches, the layers of one pass), not what comes out.
constexpr std::array<std::string_view, 4> kOnlyHowItRuns = {"sequential_targets", "sequential_update", "offload_hessians", "batched_quantization"};

Json what_is_asked(const Json& fields) {
  if (!fields.is_object()) return fields;
  Json asked = Json::object();
  for (const auto& [name, value] : fields.as_object()) {
    const bool unset = value.is_null() || std::find(kOnlyHowItRuns.begin(), kOnlyHowItRuns.end(), name) != kOnlyHowItRuns.end();
    if (!unset) asked.set(name, value);
    if (name == "actorder" && value.is_null()) asked.set(name, "none");  // there, null is a value
  }
  return asked;
}

template <class M, class Config>
std::unique_ptr<Modifier> make(const Json& fields, const std::string& source) {
  Config config;
  read_fields(what_is_asked(fields), source, config);
  return std::make_unique<M>(std::move(config), source);
}

constexpr std::array kTable = {
    ModifierRow{"AWQModifier", "awq", make<Awq, AwqConfig>},
    ModifierRow{"ConstantPruningModifier", "constant", make<ConstantPruning, ConstantPruningConfig>},
    ModifierRow{"GPTQModifier", "gptq", make<Gptq, GptqConfig>},
    ModifierRow{"MagnitudePruningModifier", "magnitude", make<MagnitudePruning, MagnitudePruningConfig>},
    ModifierRow{"QuantizationModifier", "rtn", make<RoundToNearest, QuantizationConfig>},
    ModifierRow{"SmoothQuantModifier", "smoothquant", make<SmoothQuant, SmoothQuantConfig>},
    ModifierRow{"SparseGPTModifier", "sparsegpt", make<SparseGpt, SparseGptConfig>},
    ModifierRow{"WandaPruningModifier", "wanda", make<Wanda, WandaConfig>},
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
