// SparseGPTModifier: pruning that makes up for each dropped weight with those that stay (solvers/sparsegpt.h), and then
// refits these (solvers/sparse_refit.h).
#pragma once
#include "swage/modifiers/sparsifier.h"
#include "swage/solvers/sparse_refit.h"
#include "swage/solvers/sparsegpt.h"

namespace swage::modifiers {

class SparseGpt : public Sparsifier {
 public:
  // Error(InvalidArgument) naming `source` and the field for values that make no sense.
  SparseGpt(SparseGptConfig config, const std::string& source);

  std::string_view name() const override { return SparseGptConfig::kName.recipe; }
  Json config() const override;
  Cost cost(std::span<const LinearShape> linears, const CostSetting& setting) const override;
  bool needs_calibration() const override { return true; }
  const SparsityRules& rules() const override { return rules_; }
  std::vector<SparsifiedLinear> sparsify(std::span<const LinearTask> tasks, const Statistics& statistics,
                                         const solvers::SparsityPattern& pattern) const override;

 private:
  SparseGptConfig config_;
  SparsityRules rules_;
};

}  // namespace swage::modifiers
