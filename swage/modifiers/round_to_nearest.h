// QuantizationModifier: every weight to the nearest value of its grid.
#pragma once
#include "swage/modifiers/modifier.h"
#include "swage/modifiers/weight_grids.h"

namespace swage::modifiers {

class RoundToNearest : public Quantizer {
 public:
  RoundToNearest(QuantizationConfig config, const std::string& source);

  std::string_view name() const override { return QuantizationConfig::kName.recipe; }
  Json config() const override;
  Cost cost(std::span<const LinearShape> linears, const CostSetting& setting) const override;
  // By an observer that looks at the inputs only.
  bool needs_calibration() const override;
  const QuantizationFields& quantization() const override { return config_.quantization; }
  std::vector<SolvedLinear> quantize(std::span<const LinearTask> tasks, const Statistics& statistics) const override;

 private:
  QuantizationConfig config_;
  ScaleChoice scales_;
};

}  // namespace swage::modifiers
