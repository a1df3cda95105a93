// QuantizationModifier: every weight to the nearest value of its grid. Needs no calibration.
#pragma once
#include "swage/modifiers/modifier.h"
#include "swage/solvers/grid.h"

namespace swage::modifiers {

class RoundToNearest : public Quantizer {
 public:
  RoundToNearest(QuantizationConfig config, const std::string& source);

  std::string_view name() const override { return "QuantizationModifier"; }
  Json config() const override;
  bool needs_calibration() const override { return false; }
  const QuantizationFields& quantization() const override { return config_.quantization; }
  std::vector<SolvedLinear> quantize(std::span<const LinearTask> tasks, const Statistics& statistics) const override;

 private:
  QuantizationConfig config_;
  solvers::ScaleSearch search_;
};

}  // namespace swage::modifiers
