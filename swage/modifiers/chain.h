// The modifiers of a recipe by what they do.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "swage/modifiers/expert_pruner.h"
#include "swage/modifiers/modifier.h"
#include "swage/modifiers/rescaler.h"
#include "swage/modifiers/rotator.h"
#include "swage/modifiers/sparsifier.h"

namespace swage::modifiers {

// In the order they run within a kind. Points into the recipe, which must live longer.
struct Chain {
  const Rotator* rotator = nullptr;
  const ExpertPruner* expert_pruner = nullptr;
  std::vector<const Rescaler*> rescalers;
  std::vector<size_t>
      quantizers_before;  // of each rescaler: how many of `quantizers` stand before it, whose modules it leaves alone
  std::vector<const Sparsifier*> sparsifiers;
  std::vector<const Quantizer*> quantizers;
  std::vector<std::string> names;  // of all, as in the recipe
  std::vector<std::string> warnings;

  // The first modifier that needs calibration; null if none does.
  const Modifier* calibrating() const;
  // "SmoothQuantModifier, GPTQModifier"
  std::string text() const;
};

// Error(InvalidArgument) for a recipe that changes nothing, that would rescale for rounding that does not follow,
// rotate weights after it has done anything else to them, or take experts out after anything but a rotation.
Chain make_chain(const std::vector<std::unique_ptr<Modifier>>& modifiers);

}  // namespace swage::modifiers
