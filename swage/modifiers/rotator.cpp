#include "swage/modifiers/rotator.h"

#include <algorithm>
#include <cctype>

#include "swage/base/error.h"

namespace swage::modifiers {
namespace {

solvers::RotationKind parse_kind(const std::string& type, const std::string& source) {
  if (type == "hadamard") return solvers::RotationKind::Hadamard;
  if (type == "random-hadamard") return solvers::RotationKind::RandomHadamard;
  SWAGE_CHECK(type == "random-matrix", InvalidArgument, source, ": transform_type \"", type,
              "\": expected hadamard, random-hadamard or random-matrix");
  return solvers::RotationKind::RandomMatrix;
}

}  // namespace

std::string upper_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return char(std::toupper(c)); });
  return text;
}

void read_rotation_fields(const RotationFields& fields, const std::string& source, RotationRequest& out) {
  SWAGE_CHECK(!fields.learnable, Unsupported, source, ": learnable: rotations are not trained");
  SWAGE_CHECK(fields.transform_config.is_null(), Unsupported, source,
              ": transform_config: matrices at places of one's own choice are not written; give rotations");
  SWAGE_CHECK(!fields.transform_block_size || *fields.transform_block_size > 0, InvalidArgument, source,
              ": transform_block_size ", fields.transform_block_size.value_or(0), ": expected columns, 1 or more");
  SWAGE_CHECK(!fields.seed || *fields.seed >= 0, InvalidArgument, source, ": seed ", fields.seed.value_or(0),
              ": expected 0 or more");
  out.precision = fields.precision.substr(fields.precision.find('.') + 1);
  SWAGE_CHECK(out.precision == "float64" || out.precision == "float32", InvalidArgument, source, ": precision \"",
              fields.precision, "\": expected float64 or float32");
  out.kind = parse_kind(fields.transform_type, source);
  out.block_size = fields.transform_block_size;
  if (fields.seed) out.seed = uint64_t(*fields.seed);
}

}  // namespace swage::modifiers
