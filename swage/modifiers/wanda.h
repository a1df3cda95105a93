// WandaPruningModifier: the least |w| sqrt(E[x^2]) of each row go (solvers/prune_masks.h). The others stay as they are,
// or are refitted where `sweeps` asks for it.
#pragma once
#include "swage/modifiers/sparsifier.h"

namespace swage::modifiers {

class Wanda : public Sparsifier {
 public:
  Wanda(WandaConfig config, const std::string& source);

  std::string_view name() const override { return WandaConfig::kName.recipe; }
  Json config() const override;
  Cost cost(std::span<const LinearShape> linears, const CostSetting& setting) const override;
  bool needs_calibration() const override { return true; }
  const SparsityRules& rules() const override { return rules_; }
  std::vector<SparsifiedLinear> sparsify(std::span<const LinearTask> tasks, const Statistics& statistics,
                                         const solvers::SparsityPattern& pattern) const override;

 private:
  WandaConfig config_;
  SparsityRules rules_;
};

}  // namespace swage::modifiers
