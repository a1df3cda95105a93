#include "swage/format/float_quantized.h"

#include "swage/base/error.h"
#include "swage/format/int_quantized.h"
#include "swage/format/stored_tensors.h"

namespace swage::format::float_quantized {
namespace {

void check_args(const scheme::QuantizationArgs& args) {
  check_representable("float-quantized", args, 8, true);
  SWAGE_CHECK(args.type == scheme::NumberType::Float, Unsupported, "float-quantized: weights of type int");
}

}  // namespace

std::vector<io::TensorSpec> specs(const scheme::QuantizationArgs& args, int64_t rows, int64_t columns,
                                  io::Dtype scale_dtype) {
  check_args(args);
  return {{"weight", io::Dtype::F8E4M3, {rows, columns}},
          {"weight_scale", scale_dtype, scale_shape(args, rows, columns)}};
}

std::vector<int64_t> shape(const scheme::QuantizationArgs& args, const TensorLookup& lookup) {
  check_args(args);
  return stored_codes(lookup, at::kFloat8_e4m3fn).sizes().vec();
}

std::vector<std::pair<std::string, at::Tensor>> pack(const scheme::QuantizationArgs& args,
                                                     const QuantizedWeight& weight) {
  check_args(args);
  SWAGE_CHECK(!weight.g_idx_I.defined(), InvalidArgument, "float-quantized: cannot store sorted groups");
  const QuantizedWeight ready = checked_for_packing(args, weight, at::kFloat8_e4m3fn);
  return {{"weight", ready.codes_OI}, {"weight_scale", ready.scale_OG}};
}

QuantizedWeight unpack(const scheme::QuantizationArgs& args, const TensorLookup& lookup) {
  check_args(args);
  QuantizedWeight weight;
  weight.codes_OI = stored_codes(lookup, at::kFloat8_e4m3fn);
  weight.scale_OG = stored_scale(args, lookup, weight.codes_OI.size(0), weight.codes_OI.size(1));
  set_blocks(args, weight);
  return weight;
}

}  // namespace swage::format::float_quantized

namespace swage::format::naive_quantized {
namespace {

bool is_float(const scheme::QuantizationArgs& args) { return args.type == scheme::NumberType::Float; }

}  // namespace

std::vector<io::TensorSpec> specs(const scheme::QuantizationArgs& args, int64_t rows, int64_t columns,
                                  io::Dtype scale_dtype) {
  return (is_float(args) ? float_quantized::specs : int_quantized::specs)(args, rows, columns, scale_dtype);
}

std::vector<int64_t> shape(const scheme::QuantizationArgs& args, const TensorLookup& lookup) {
  return (is_float(args) ? float_quantized::shape : int_quantized::shape)(args, lookup);
}

std::vector<std::pair<std::string, at::Tensor>> pack(const scheme::QuantizationArgs& args,
                                                     const QuantizedWeight& weight) {
  return (is_float(args) ? float_quantized::pack : int_quantized::pack)(args, weight);
}

QuantizedWeight unpack(const scheme::QuantizationArgs& args, const TensorLookup& lookup) {
  return (is_float(args) ? float_quantized::unpack : int_quantized::unpack)(args, lookup);
}

}  // namespace swage::format::naive_quantized
