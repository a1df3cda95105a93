#include "swage/modifiers/spin_quant.h"

#include "swage/base/error.h"
#include "swage/base/fields.h"

namespace swage::modifiers {
namespace {

void add_rotation(const std::string& rotation, const std::string& source, RotationRequest& out) {
  const std::string name = upper_case(rotation);
  if (name == "R1") out.stream = true;
  if (name == "R2") out.heads = true;
  if (name == "R3") out.keys = true;
  if (name == "R4") out.inner = true;
  SWAGE_CHECK(name.size() == 2 && name[0] == 'R' && name[1] >= '1' && name[1] <= '4', InvalidArgument, source,
              ": rotations: \"", rotation, "\": expected R1, R2, R3 or R4");
}

}  // namespace

SpinQuant::SpinQuant(SpinQuantConfig config, const std::string& source) : config_(std::move(config)) {
  read_rotation_fields({config_.transform_type, config_.learnable, config_.precision, config_.transform_block_size,
                        config_.seed, config_.transform_config},
                       source, request_);
  SWAGE_CHECK(!config_.rotations.empty(), InvalidArgument, source, ": rotations: expected some of R1, R2, R3 and R4");
  SWAGE_CHECK(config_.mappings.is_null() && config_.norm_mappings.is_null(), Unsupported, source,
              ": mappings and norm_mappings: what reads and writes the residual stream is the architecture's "
              "knowledge; leave them out");
  for (const std::string& rotation : config_.rotations) add_rotation(rotation, source, request_);
  SWAGE_CHECK(!config_.randomize || request_.kind != solvers::RotationKind::Hadamard, InvalidArgument, source,
              ": randomize: a plain Hadamard matrix is the same in every layer; use transform_type random-hadamard or "
              "random-matrix");
  request_.each_layer = config_.randomize;
}

Json SpinQuant::config() const { return write_fields(config_); }

}  // namespace swage::modifiers
