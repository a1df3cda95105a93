// MagnitudePruningModifier: the least |w| go. ConstantPruningModifier: the zeros of the source stay zeros when it is
// quantized. Neither needs calibration.
#pragma once
#include "swage/modifiers/sparsifier.h"

namespace swage::modifiers {

class MagnitudePruning : public Sparsifier {
 public:
  MagnitudePruning(MagnitudePruningConfig config, const std::string& source);

  std::string_view name() const override { return MagnitudePruningConfig::kName.recipe; }
  Json config() const override;
  Cost cost(std::span<const LinearShape> linears, const CostSetting& setting) const override;
  bool needs_calibration() const override { return false; }
  const SparsityRules& rules() const override { return rules_; }
  std::vector<SparsifiedLinear> sparsify(std::span<const LinearTask> tasks, const Statistics& statistics,
                                         const solvers::SparsityPattern& pattern) const override;

 private:
  MagnitudePruningConfig config_;
  SparsityRules rules_;
};

class ConstantPruning : public Sparsifier {
 public:
  ConstantPruning(ConstantPruningConfig config, const std::string& source);

  std::string_view name() const override { return ConstantPruningConfig::kName.recipe; }
  Json config() const override;
  Cost cost(std::span<const LinearShape> linears, const CostSetting& setting) const override;
  bool needs_calibration() const override { return false; }
  const SparsityRules& rules() const override { return rules_; }
  std::vector<SparsifiedLinear> sparsify(std::span<const LinearTask> tasks, const Statistics& statistics,
                                         const solvers::SparsityPattern& pattern) const override;

 private:
  ConstantPruningConfig config_;
  SparsityRules rules_;
};

}  // namespace swage::modifiers
