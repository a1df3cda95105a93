#include "swage/modifiers/chain.h"

#include "swage/base/error.h"

namespace swage::modifiers {

const Modifier* Chain::calibrating() const {
  if (expert_pruner != nullptr) return expert_pruner;
  if (!rescalers.empty()) return rescalers[0];
  for (const Sparsifier* sparsifier : sparsifiers) {
    if (sparsifier->needs_calibration()) return sparsifier;
  }
  for (const Quantizer* quantizer : quantizers) {
    if (quantizer->needs_calibration()) return quantizer;
  }
  return nullptr;
}

std::string Chain::text() const {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

namespace {

// Rescaling for its own sake leaves the model as it is, and AWQ judges by what rounding does.
void check_something_follows(const Chain& chain) {
  for (size_t i = 0; i < chain.rescalers.size(); ++i) {
    const size_t before = chain.quantizers_before[i], count = chain.quantizers.size();
    SWAGE_CHECK(chain.rescalers[i]->works_alone() || before < count || count == 0, InvalidArgument,
                chain.rescalers[i]->name(), " stands behind ",
                chain.quantizers.empty() ? "" : chain.quantizers.back()->name(),
                ": weights are rescaled before they are quantized; put it first");
    SWAGE_CHECK(chain.rescalers[i]->works_alone() || count > 0, InvalidArgument, chain.text(),
                ": the recipe quantizes nothing; add a QuantizationModifier or a GPTQModifier");
  }
  SWAGE_CHECK(!chain.quantizers.empty() || !chain.sparsifiers.empty() || !chain.rescalers.empty() ||
                  chain.expert_pruner != nullptr,
              InvalidArgument, chain.text(),
              ": the recipe quantizes nothing; add a QuantizationModifier or a GPTQModifier");
}

}  // namespace

Chain make_chain(const std::vector<std::unique_ptr<Modifier>>& modifiers) {
  Chain out;
  for (const auto& modifier : modifiers) {
    out.names.emplace_back(modifier->name());
    if (const auto* rotator = dynamic_cast<const Rotator*>(modifier.get())) {
      SWAGE_CHECK(out.names.size() == 1, InvalidArgument, modifier->name(), " stands behind ",
                  out.names[out.names.size() - 2],
                  ": weights are rotated once, before anything else is done to them; put it first");
      out.rotator = rotator;
    }
    if (const auto* pruner = dynamic_cast<const ExpertPruner*>(modifier.get())) {
      SWAGE_CHECK(out.names.size() == (out.rotator != nullptr ? 2u : 1u), InvalidArgument, modifier->name(),
                  " stands behind ", out.names[out.names.size() - 2],
                  ": experts go once, before anything but a rotation is done to those that stay; put it first");
      out.expert_pruner = pruner;
    }
    const auto* sparsifier = dynamic_cast<const Sparsifier*>(modifier.get());
    if (sparsifier != nullptr) {
      if (!out.quantizers.empty()) {
        out.warnings.push_back(
            cat(modifier->name(), " stands behind ", out.names[out.names.size() - 2],
                ": weights are pruned before they are rounded all the same, so that rounding makes up for it"));
      }
      out.sparsifiers.push_back(sparsifier);
    }
    if (const auto* rescaler = dynamic_cast<const Rescaler*>(modifier.get())) {
      out.rescalers.push_back(rescaler);
      out.quantizers_before.push_back(out.quantizers.size());
    }
    if (const auto* quantizer = dynamic_cast<const Quantizer*>(modifier.get())) out.quantizers.push_back(quantizer);
  }
  check_something_follows(out);
  return out;
}

}  // namespace swage::modifiers
