#include "swage/resolve/recipe_observers.h"

#include <array>
#include <optional>
#include <string>
#include <utility>

#include "swage/base/error.h"
#include "swage/observers/observer.h"

namespace swage::pipeline {
namespace {

using scheme::Dynamic, scheme::QuantizationArgs;

struct Names {
  std::optional<std::string> weights, input, output;
};

Names names_of(const modifiers::QuantizationFields& fields, std::string_view modifier) {
  Names out{fields.weight_observer, fields.input_observer, fields.output_observer};
  if (fields.observer.is_null()) return out;
  SWAGE_CHECK(!out.weights && !out.input && !out.output, InvalidArgument, modifier,
              ": give observer, or weight_observer, input_observer and output_observer");
  SWAGE_CHECK(fields.observer.is_object(), InvalidArgument, modifier,
              ": observer: expected names under weights, input and output");
  const std::array<std::pair<std::string_view, std::optional<std::string>*>, 3> known{
      {{"weights", &out.weights}, {"input", &out.input}, {"output", &out.output}}};
  for (const auto& [key, value] : fields.observer.as_object()) {
    bool found = false;
    for (const auto& [name, field] : known) {
      if (name != key) continue;
      *field = value.as_string();
      found = true;
    }
    SWAGE_CHECK(found, InvalidArgument, modifier, ": observer: \"", key, "\": expected weights, input or output");
  }
  return out;
}

// Throws what make_observer() has to say of a name and its settings.
void check(const QuantizationArgs& args, observers::Role role, std::string_view modifier, const char* of) {
  if (!args.observer) return;
  try {
    observers::make_observer("", args, role);
  } catch (Error& e) {
    e.add_context(cat(modifier, ": ", of));
    throw;
  }
}

}  // namespace

void choose_observers(const modifiers::QuantizationFields& fields, std::string_view modifier, scheme::Scheme& scheme) {
  const Names names = names_of(fields, modifier);
  if (scheme.weights && names.weights) scheme.weights->observer = names.weights;
  if (scheme.input_activations && names.input) scheme.input_activations->observer = names.input;
  if (scheme.output_activations && names.output) scheme.output_activations->observer = names.output;
  if (scheme.weights) check(*scheme.weights, observers::Role::Weight, modifier, "weights");
  const bool observed = scheme.input_activations && scheme.input_activations->dynamic != Dynamic::Yes;
  const observers::Role role = scheme.weights ? observers::Role::Activation : observers::Role::Attention;
  if (observed) check(*scheme.input_activations, role, modifier, "input_activations");
}

}  // namespace swage::pipeline
