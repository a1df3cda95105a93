#include "swage/resolve/bit_candidates.h"

#include <algorithm>
#include <cmath>

#include "swage/base/error.h"
#include "swage/modifiers/spelled_fields.h"
#include "swage/scheme/presets.h"

namespace swage::pipeline {
namespace {

using modifiers::QuantizationFields;

scheme::Scheme candidate(const std::string& name, const QuantizationFields& fields) {
  scheme::Scheme scheme = scheme::preset(name);
  SWAGE_CHECK(scheme.weights, Unsupported, "candidates: ", name,
              " leaves weights as they are; add modules that should stay so to ignore");
  SWAGE_CHECK(!scheme.input_activations && !scheme.output_activations, Unsupported, "candidates: ", name,
              " quantizes activations too, whose error a budget does not weigh; weight-only presets can be candidates");
  const bool integers =
      scheme.weights->type == scheme::NumberType::Int;  // floats have the groups and the symmetry of their kind
  if (fields.group_size && integers) scheme = scheme::with_group_size(scheme, *fields.group_size);
  if (fields.symmetric && integers) scheme = scheme::with_symmetric(scheme, *fields.symmetric);
  scheme.targets = fields.targets;
  return scheme;
}

}  // namespace

void check_budget_fields(const QuantizationFields& fields, std::string_view modifier) {
  if (!fields.has_budget()) {
    SWAGE_CHECK(!fields.candidates, InvalidArgument, modifier,
                ": candidates is for a budget: give target_bits or target_size");
    return;
  }
  SWAGE_CHECK(!fields.scheme && fields.config_groups.is_null(), InvalidArgument, modifier, ": ",
              fields.scheme ? "scheme" : "config_groups",
              ": a budget chooses the schemes; name them as candidates instead");
  SWAGE_CHECK(!fields.target_bits || !fields.target_size, InvalidArgument, modifier,
              ": give target_bits or target_size, not both");
  SWAGE_CHECK(!fields.target_bits || (std::isfinite(*fields.target_bits) && *fields.target_bits > 0), InvalidArgument,
              modifier, ": target_bits ", fields.target_bits.value_or(0), ": expected a positive number");
}

std::vector<std::pair<std::string, scheme::Scheme>> bit_candidates(const QuantizationFields& fields,
                                                                   std::string_view modifier) {
  const std::vector<std::string> names = fields.candidates.value_or(modifiers::default_candidates());
  std::vector<std::pair<std::string, scheme::Scheme>> out;
  for (const std::string& name : names) {
    try {
      out.emplace_back(name, candidate(name, fields));
    } catch (Error& e) {
      e.add_context(modifier);
      throw;
    }
    const auto same = [&](const auto& other) { return other.second == out.back().second; };
    SWAGE_CHECK(std::find_if(out.begin(), out.end() - 1, same) == out.end() - 1, InvalidArgument, modifier,
                ": candidates: ", name, " is there twice");
  }
  SWAGE_CHECK(out.size() >= 2, InvalidArgument, modifier, ": candidates: a budget chooses among two schemes or more");
  return out;
}

}  // namespace swage::pipeline
