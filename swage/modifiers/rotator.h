// Modifiers that turn the spaces between layers by orthogonal matrices. The function stays as it is; outliers are
// spread over all columns before anything is rounded. Some are folded into the weights on both sides; of others the
// reader of the checkpoint computes one side. Which tensors take part is the architecture's knowledge
// (model/rotation.h).
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "swage/modifiers/modifier.h"
#include "swage/solvers/rotation.h"

namespace swage::modifiers {

struct RotationRequest {
  bool stream = false, heads = false;  // R1, R2: folded
  bool keys = false, inner = false;    // R3: queries and keys; R4: what leads the MLP out. Computed by the reader
  bool inputs = false,
       outputs = false;  // v, u: of the linears that `targets` and `ignore` name. Computed by the reader
  std::vector<std::string> targets = {}, ignore = {};
  solvers::RotationKind kind = solvers::RotationKind::Hadamard;
  bool each_layer = false;  // R2 of its own for every layer
  std::optional<int64_t> block_size =
      {};  // columns that are rotated together; unset: all of the stream, a head, all that a linear reads or makes
  std::optional<uint64_t> seed = {};  // unset: the run's
  std::string precision = "float32";  // of matrices that a reader multiplies with

  bool is_online() const { return keys || inner || inputs || outputs; }
};

class Rotator : public Modifier {
 public:
  bool needs_calibration() const override { return false; }
  Cost cost(std::span<const LinearShape>, const CostSetting&) const override {
    return {};
  }  // weights are turned as they are read
  virtual const RotationRequest& request() const = 0;
};

// What the fields of all rotators say alike. Error(InvalidArgument) naming `source` and the field for values that make
// no sense; Error(Unsupported) for trained rotations and a transform_config of the recipe's own.
struct RotationFields {
  const std::string& transform_type;
  bool learnable;
  const std::string& precision;
  std::optional<int64_t> transform_block_size, seed;
  const Json& transform_config;
};
void read_rotation_fields(const RotationFields& fields, const std::string& source, RotationRequest& out);
// "R1" of "r1".
std::string upper_case(std::string text);

}  // namespace swage::modifiers
