// SpinQuantModifier: rotations folded into the weights (R1, R2 of Liu et al. 2024, arXiv:2405.16406).
#pragma once
#include "swage/modifiers/config.h"
#include "swage/modifiers/rotator.h"

namespace swage::modifiers {

class SpinQuant : public Rotator {
 public:
  // Error(InvalidArgument) naming `source` and the field for values that make no sense; Error(Unsupported) for what a checkpoint of plain
  // weights cannot hold: R3 and R4, learned rotations, other mappings than the architecture's.
  SpinQuant(SpinQuantConfig config, const std::string& source);

  std::string_view name() const override { return "SpinQuantModifier"; }
  Json config() const override;
  Cost cost(std::span<const LinearShape> linears, const CostSetting& setting) const override;
  const RotationRequest& request() const override { return request_; }

 private:
  SpinQuantConfig config_;
  RotationRequest request_;
};

// QuIPModifier: always Error(Unsupported) that says why, or Error(InvalidArgument) for values that make no sense. Its rotations are not
// folded on both sides of a linear, so that the reader of the checkpoint has to compute one.
std::unique_ptr<Modifier> make_quip(const Json& fields, const std::string& source);

}  // namespace swage::modifiers
