#include "swage/modifiers/quip.h"

#include "swage/base/error.h"
#include "swage/base/fields.h"

namespace swage::modifiers {

Quip::Quip(QuipConfig config, const std::string& source) : config_(std::move(config)) {
  read_rotation_fields({config_.transform_type, config_.learnable, config_.precision, config_.transform_block_size,
                        config_.seed, config_.transform_config},
                       source, request_);
  SWAGE_CHECK(!config_.randomize, Unsupported, source,
              ": randomize: matrices of its own for every linear are not made; linears of one size share one");
  SWAGE_CHECK(!config_.rotations.empty(), InvalidArgument, source, ": rotations: expected v, u or both");
  SWAGE_CHECK(!config_.targets.empty(), InvalidArgument, source, ": targets: expected linears");
  for (const std::string& rotation : config_.rotations) {
    const std::string side = upper_case(rotation);
    SWAGE_CHECK(side == "V" || side == "U", InvalidArgument, source, ": rotations: \"", rotation,
                "\": expected u or v");
    (side == "V" ? request_.inputs : request_.outputs) = true;
  }
  request_.targets = config_.targets;
  request_.ignore = config_.ignore;
}

Json Quip::config() const { return write_fields(config_); }

}  // namespace swage::modifiers
