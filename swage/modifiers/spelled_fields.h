// What a quantizer's fields mean, spelled out for recipe.yaml: a file that leaves nothing to defaults makes the same
// weights when they change.
#pragma once
#include <set>
#include <string>
#include <vector>

#include "swage/modifiers/config.h"
#include "swage/scheme/quantization.h"

namespace swage::modifiers {

// Presets that a budget chooses among where `candidates` names none.
const std::vector<std::string>& default_candidates();

// The weights that the fields speak of, without targets; empty if the fields make no sense, which others say better.
std::vector<scheme::QuantizationArgs> weights_of(const QuantizationFields& fields);
std::set<int> widths_of(const std::vector<scheme::QuantizationArgs>& weights);
// Whether the fields name an observer for all of these weights, or for none.
enum class Observed { None, Some, All };
Observed observed(const QuantizationFields& fields, const std::vector<scheme::QuantizationArgs>& weights);
// Fills in what presets and budgets leave to defaults.
void spell_out(QuantizationFields& fields);

}  // namespace swage::modifiers
