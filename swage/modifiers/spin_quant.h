// SpinQuantModifier: rotations folded into the weights (R1, R2) and computed by the reader (R3, R4 of Liu et al. 2024,
// arXiv:2405.16406).
#pragma once
#include "swage/modifiers/config.h"
#include "swage/modifiers/rotator.h"

namespace swage::modifiers {

class SpinQuant : public Rotator {
 public:
  // Error(InvalidArgument) naming `source` and the field for values that make no sense; Error(Unsupported) for learned
  // rotations and other mappings than the architecture's.
  SpinQuant(SpinQuantConfig config, const std::string& source);

  std::string_view name() const override { return SpinQuantConfig::kName.recipe; }
  Json config() const override;
  const RotationRequest& request() const override { return request_; }

 private:
  SpinQuantConfig config_;
  RotationRequest request_;
};

}  // namespace swage::modifiers
