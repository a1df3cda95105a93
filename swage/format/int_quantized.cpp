#include "swage/format/int_quantized.h"

#include "swage/base/error.h"
#include "swage/format/stored_tensors.h"

namespace swage::format::int_quantized {
namespace {

void check_args(const scheme::QuantizationArgs& args) {
  check_representable("int-quantized", args, 16, true);
  SWAGE_CHECK(args.type == scheme::NumberType::Int, Unsupported, "int-quantized: weights of type float");
  SWAGE_CHECK(!orders_groups(args), Unsupported, "int-quantized: actorder group");
}

at::ScalarType code_type(const scheme::QuantizationArgs& args) { return args.num_bits <= 8 ? at::kChar : at::kShort; }

}  // namespace

std::vector<io::TensorSpec> specs(const scheme::QuantizationArgs& args, int64_t rows, int64_t columns,
                                  io::Dtype scale_dtype) {
  check_args(args);
  const io::Dtype codes = args.num_bits <= 8 ? io::Dtype::I8 : io::Dtype::I16;
  const std::vector<int64_t> shape = scale_shape(args, rows, columns);
  std::vector<io::TensorSpec> specs = {{"weight", codes, {rows, columns}}, {"weight_scale", scale_dtype, shape}};
  if (!args.symmetric) specs.push_back({"weight_zero_point", codes, shape});
  return specs;
}

std::vector<int64_t> shape(const scheme::QuantizationArgs& args, const TensorLookup& lookup) {
  check_args(args);
  return stored_codes(lookup, code_type(args)).sizes().vec();
}

std::vector<std::pair<std::string, at::Tensor>> pack(const scheme::QuantizationArgs& args,
                                                     const QuantizedWeight& weight) {
  check_args(args);
  SWAGE_CHECK(!weight.g_idx_I.defined(), InvalidArgument, "int-quantized: cannot store sorted groups");
  const QuantizedWeight ready = checked_for_packing(args, weight, code_type(args));
  std::vector<std::pair<std::string, at::Tensor>> packed = {{"weight", ready.codes_OI},
                                                            {"weight_scale", ready.scale_OG}};
  if (!args.symmetric) packed.emplace_back("weight_zero_point", ready.zero_point_OG);
  return packed;
}

QuantizedWeight unpack(const scheme::QuantizationArgs& args, const TensorLookup& lookup) {
  check_args(args);
  QuantizedWeight weight;
  weight.codes_OI = stored_codes(lookup, code_type(args));
  weight.scale_OG = stored_scale(args, lookup, weight.codes_OI.size(0), weight.codes_OI.size(1));
  if (!args.symmetric) weight.zero_point_OG = stored_zero_point(lookup, weight.scale_OG, code_type(args));
  set_blocks(args, weight);
  return weight;
}

}  // namespace swage::format::int_quantized
