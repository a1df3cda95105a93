// REAPPruningModifier: the experts with the least saliency go (Lasby et al. 2025, arXiv:2510.13999).
#pragma once
#include "swage/modifiers/expert_pruner.h"

namespace swage::modifiers {

class Reap : public ExpertPruner {
 public:
  // Error(InvalidArgument) naming `source` and the field for values that make no sense.
  Reap(ReapConfig config, const std::string& source);

  std::string_view name() const override { return ReapConfig::kName.recipe; }
  Json config() const override;
  Cost cost(std::span<const LinearShape> linears, const CostSetting& setting) const override;
  int64_t dropped(int64_t experts) const override;
  const std::vector<std::string>& ignore() const override { return config_.ignore; }
  const std::optional<std::string>& report_path() const override { return config_.report_path; }
  std::vector<double> scores(const ExpertStatistics& statistics) const override;

 private:
  ReapConfig config_;
};

}  // namespace swage::modifiers
