#include "swage/modifiers/spin_quant.h"

#include <algorithm>
#include <cctype>

#include "swage/base/error.h"
#include "swage/base/fields.h"

namespace swage::modifiers {
namespace {

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return char(std::toupper(c)); });
  return text;
}

solvers::RotationKind parse_kind(const std::string& type, const std::string& source) {
  if (type == "hadamard") return solvers::RotationKind::Hadamard;
  if (type == "random-hadamard") return solvers::RotationKind::RandomHadamard;
  SWAGE_CHECK(type == "random-matrix", InvalidArgument, source, ": transform_type \"", type, "\": expected hadamard, random-hadamard or random-matrix");
  return solvers::RotationKind::RandomMatrix;
}

void add_rotation(const std::string& rotation, const std::string& source, RotationRequest& out) {
  const std::string name = upper(rotation);
  SWAGE_CHECK(name != "R3" && name != "R4", Unsupported, source, ": rotations: ", name,
              " is computed on the activations while the model runs, which a reader has to do (transform_config); R1 and R2 are folded into the weights");
  SWAGE_CHECK(name == "R1" || name == "R2", InvalidArgument, source, ": rotations: \"", rotation, "\": expected R1 or R2");
  (name == "R1" ? out.stream : out.heads) = true;
}

template <class Config>
void check_common(const Config& config, const std::string& source) {
  SWAGE_CHECK(!config.learnable, Unsupported, source, ": learnable: rotations are not trained");
  SWAGE_CHECK(config.transform_config.is_null(), Unsupported, source, ": transform_config: rotations that a reader computes are not written");
  SWAGE_CHECK(!config.transform_block_size || *config.transform_block_size > 0, InvalidArgument, source, ": transform_block_size ",
              config.transform_block_size.value_or(0), ": expected columns, 1 or more");
  const std::string precision = config.precision.substr(config.precision.find('.') + 1);
  SWAGE_CHECK(precision == "float64" || precision == "float32", InvalidArgument, source, ": precision \"", config.precision, "\": expected float64 or float32");
}

}  // namespace

SpinQuant::SpinQuant(SpinQuantConfig config, const std::string& source) : config_(std::move(config)) {
  check_common(config_, source);
  SWAGE_CHECK(!config_.rotations.empty(), InvalidArgument, source, ": rotations: expected R1, R2 or both");
  SWAGE_CHECK(config_.mappings.is_null() && config_.norm_mappings.is_null(), Unsupported, source,
              ": mappings and norm_mappings: what reads and writes the residual stream is the architecture's knowledge; leave them out");
  for (const std::string& rotation : config_.rotations) add_rotation(rotation, source, request_);
  request_.kind = parse_kind(config_.transform_type, source);
  SWAGE_CHECK(!config_.randomize || request_.kind != solvers::RotationKind::Hadamard, InvalidArgument, source,
              ": randomize: a plain Hadamard matrix is the same in every layer; use transform_type random-hadamard or random-matrix");
  SWAGE_CHECK(!config_.seed || *config_.seed >= 0, InvalidArgument, source, ": seed ", config_.seed.value_or(0), ": expected 0 or more");
  request_.each_layer = config_.randomize;
  request_.block_size = config_.transform_block_size;
  if (config_.seed) request_.seed = uint64_t(*config_.seed);
}

Json SpinQuant::config() const { return write_fields(config_); }

Cost SpinQuant::cost(std::span<const LinearShape>, const CostSetting&) const { return {}; }  // weights are turned as they are read

std::unique_ptr<Modifier> make_quip(const Json& fields, const std::string& source) {
  QuipConfig config;
  read_fields(fields, source, config);
  check_common(config, source);
  parse_kind(config.transform_type, source);
  std::string sides;
  for (const std::string& rotation : config.rotations) {
    const std::string side = upper(rotation);
    SWAGE_CHECK(side == "U" || side == "V", InvalidArgument, source, ": rotations: \"", rotation, "\": expected u or v");
    sides += (sides.empty() ? "" : ", ") + rotation;
  }
  throw Error(ErrorKind::Unsupported, cat(source, ": rotations ", sides, " turn what each linear reads or makes while the model runs, which a reader has to do"
                                          " (transform_config); SpinQuantModifier with transform_type random-hadamard folds the same matrices into the weights"));
}

}  // namespace swage::modifiers
