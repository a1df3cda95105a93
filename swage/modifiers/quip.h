// QuIPModifier: what linears read (v) and make (u) is rotated by the reader, and the inverse is in the weights (QuIP#,
// Tseng et al. 2024, arXiv:2402.04396, without its lattice codes).
#pragma once
#include "swage/modifiers/config.h"
#include "swage/modifiers/rotator.h"

namespace swage::modifiers {

class Quip : public Rotator {
 public:
  // Error(InvalidArgument) naming `source` and the field for values that make no sense; Error(Unsupported) for learned
  // rotations and those of a linear's own.
  Quip(QuipConfig config, const std::string& source);

  std::string_view name() const override { return QuipConfig::kName.recipe; }
  Json config() const override;
  const RotationRequest& request() const override { return request_; }

 private:
  QuipConfig config_;
  RotationRequest request_;
};

}  // namespace swage::modifiers
