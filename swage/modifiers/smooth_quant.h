// SmoothQuantModifier: the magnitude of outlier activations moved into the weights (Xiao et al. 2023, arXiv:2211.10438,
// equation 4).
#pragma once
#include "swage/modifiers/config.h"
#include "swage/modifiers/rescaler.h"

namespace swage::modifiers {

// As LLM Compressor has it: with a the range (largest minus smallest value) of an input column and w twice the largest
// |W| of that column over all consumers, s = a^strength / w^(1 - strength), a where w is 0, at least 1e-5. Algorithm
// log_equalization: a / log2(2 + a).
class SmoothQuant : public Rescaler {
 public:
  // Error(InvalidArgument) naming `source` and the field for values that make no sense.
  SmoothQuant(SmoothQuantConfig config, const std::string& source);
  // The same with algorithm log_equalization, whatever the config says.
  SmoothQuant(LogEqualizationConfig config, const std::string& source);

  std::string_view name() const override { return SmoothQuantConfig::kName.recipe; }
  Json config() const override;
  Cost cost(std::span<const LinearShape> linears, const CostSetting& setting) const override;
  const std::vector<Mapping>& mappings() const override { return mappings_; }
  const std::vector<std::string>& ignore() const override { return config_.ignore; }
  bool follows_linears() const override { return false; }
  bool needs_gram() const override { return false; }
  bool needs_mean() const override { return false; }
  bool works_alone() const override { return true; }
  at::Tensor scales(const RescaleTask& task) const override;

 private:
  SmoothQuantConfig config_;
  std::vector<Mapping> mappings_;
};

}  // namespace swage::modifiers
