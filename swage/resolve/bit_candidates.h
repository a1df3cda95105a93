// The schemes that a bit budget chooses among.
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "swage/modifiers/config.h"
#include "swage/scheme/quantization.h"

namespace swage::pipeline {

// Error(InvalidArgument) naming `modifier` for a budget beside a scheme or given twice, and for what only a budget has
// without one.
void check_budget_fields(const modifiers::QuantizationFields& fields, std::string_view modifier);
// Of fields that have a budget: named schemes in the order given, with the fields' targets; group size and symmetry
// apply to integers. Error(InvalidArgument) or Error(Unsupported) for presets that cannot be candidates.
std::vector<std::pair<std::string, scheme::Scheme>> bit_candidates(const modifiers::QuantizationFields& fields,
                                                                   std::string_view modifier);

}  // namespace swage::pipeline
