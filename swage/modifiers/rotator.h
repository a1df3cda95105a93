// Modifiers that turn the spaces between layers by orthogonal matrices folded into the weights. The function stays as it is; outliers are
// spread over all columns before anything is rounded. Which tensors take part is the architecture's knowledge (model/rotation.h).
#pragma once
#include <optional>

#include "swage/modifiers/modifier.h"
#include "swage/solvers/rotation.h"

namespace swage::modifiers {

struct RotationRequest {
  bool stream = false, heads = false;  // R1, R2
  solvers::RotationKind kind = solvers::RotationKind::Hadamard;
  bool each_layer = false;             // R2 of its own for every layer
  std::optional<int64_t> block_size;   // columns that are rotated together; unset: all of the stream, a head
  std::optional<uint64_t> seed;        // unset: the run's
};

class Rotator : public Modifier {
 public:
  bool needs_calibration() const override { return false; }
  virtual const RotationRequest& request() const = 0;
};

}  // namespace swage::modifiers
