#include "swage/observers/grid_of.h"

#include <string>

#include "swage/base/error.h"

namespace swage::observers {
namespace {

solvers::CodeType code_type(const scheme::QuantizationArgs& args) {
  if (args.type == scheme::NumberType::Int) {
    SWAGE_CHECK(args.num_bits >= 2 && args.num_bits <= 8, Unsupported, "integers of ", args.num_bits,
                " bits: 2 to 8 are supported");
    return solvers::CodeType::Int;
  }
  SWAGE_CHECK(args.num_bits == 8 || args.num_bits == 6 || args.num_bits == 4, Unsupported, args.num_bits,
              " bits, type float: 4, 6 and 8 are supported");
  SWAGE_CHECK(args.symmetric, Unsupported, "asymmetric floats: only integers have zero points");
  if (args.num_bits == 8) return solvers::CodeType::Fp8E4M3;
  return args.num_bits == 6 ? solvers::CodeType::Fp6E2M3 : solvers::CodeType::Fp4E2M1;
}

at::ScalarType scale_type(const scheme::QuantizationArgs& args, at::ScalarType stored_dtype) {
  const std::string name = args.scale_dtype.value_or("");
  if (args.strategy == scheme::Strategy::TensorGroup) return at::kFloat8_e4m3fn;
  if (name.empty()) return stored_dtype;
  if (name == "torch.uint8") return at::kByte;
  if (name == "torch.float32") return at::kFloat;
  if (name == "torch.bfloat16") return at::kBFloat16;
  SWAGE_CHECK(name == "torch.float16", Unsupported, "scales of type ", name,
              ": supported are float32, bfloat16, float16, uint8 (powers of two), and float8_e4m3fn with strategy "
              "tensor_group");
  return at::kHalf;
}

}  // namespace

solvers::GridSpec grid_of(const scheme::QuantizationArgs& args, at::ScalarType stored_dtype, bool whole_rows) {
  using scheme::Strategy;
  solvers::GridSpec spec;
  spec.type = code_type(args);
  spec.code_min = scheme::code_min(args);
  spec.code_max = scheme::code_max(args);
  spec.symmetric = args.symmetric;
  spec.scale_dtype = scale_type(args, stored_dtype);
  switch (args.strategy) {
    case Strategy::Channel:
    case Strategy::Token:
    case Strategy::AttnHead:
      break;
    case Strategy::Tensor:
      spec.group_rows = 0;
      break;
    case Strategy::Group:
    case Strategy::TensorGroup:
      SWAGE_CHECK(args.group_size.value_or(0) > 0, InvalidArgument, "strategy ", scheme::name_of(args.strategy),
                  " needs a group size");
      spec.group_size = *args.group_size;
      if (whole_rows) spec.group_rows = 0;
      break;
    case Strategy::Block:
      SWAGE_CHECK(args.block_structure && args.block_structure->first > 0 && args.block_structure->second > 0,
                  InvalidArgument, "strategy block needs a block structure");
      spec.group_rows = args.block_structure->first;
      spec.group_size = args.block_structure->second;
      break;
  }
  return spec;
}

}  // namespace swage::observers
