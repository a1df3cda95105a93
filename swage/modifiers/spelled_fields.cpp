#include "swage/modifiers/spelled_fields.h"

#include <algorithm>

#include "swage/base/error.h"
#include "swage/scheme/config_json.h"
#include "swage/scheme/presets.h"

namespace swage::modifiers {
namespace {

void add_weights(const scheme::Scheme& scheme, std::vector<scheme::QuantizationArgs>& out) {
  if (scheme.weights) out.push_back(*scheme.weights);
}

std::vector<scheme::QuantizationArgs> read_weights(const QuantizationFields& fields) {
  std::vector<scheme::QuantizationArgs> out;
  if (fields.has_budget()) {
    for (const std::string& name : fields.candidates.value_or(default_candidates()))
      add_weights(scheme::preset(name), out);
  } else if (fields.scheme) {
    add_weights(scheme::preset(*fields.scheme), out);
  } else if (fields.config_groups.is_object()) {
    Json config = Json::object();
    config.set("quant_method", "compressed-tensors");
    config.set("config_groups", fields.config_groups);
    for (const auto& [name, scheme] : scheme::parse_quantization_config(config).groups) add_weights(scheme, out);
  }
  return out;
}

}  // namespace

const std::vector<std::string>& default_candidates() {
  static const std::vector<std::string> names = {"W3A16", "W4A16", "W5A16", "W6A16", "W8A16"};
  return names;
}

std::vector<scheme::QuantizationArgs> weights_of(const QuantizationFields& fields) {
  try {
    return read_weights(fields);
  } catch (const Error&) {
    return {};
  }
}

std::set<int> widths_of(const std::vector<scheme::QuantizationArgs>& weights) {
  std::set<int> out;
  for (const scheme::QuantizationArgs& args : weights) out.insert(args.num_bits);
  return out;
}

Observed observed(const QuantizationFields& fields, const std::vector<scheme::QuantizationArgs>& weights) {
  if (fields.weight_observer || (fields.observer.is_object() && fields.observer.find("weights") != nullptr))
    return Observed::All;
  const auto named =
      std::count_if(weights.begin(), weights.end(), [](const auto& args) { return args.observer.has_value(); });
  if (named == 0) return Observed::None;
  return size_t(named) == weights.size() ? Observed::All : Observed::Some;
}

void spell_out(QuantizationFields& fields) {
  if (fields.has_budget() && !fields.candidates) fields.candidates = default_candidates();
  const std::vector<scheme::QuantizationArgs> weights = weights_of(fields);
  const bool by_preset = fields.scheme && weights.size() == 1 && weights[0].type == scheme::NumberType::Int;
  if (!by_preset) return;
  if (!fields.group_size && weights[0].group_size) fields.group_size = weights[0].group_size;
  if (!fields.symmetric) fields.symmetric = weights[0].symmetric;
}

}  // namespace swage::modifiers
