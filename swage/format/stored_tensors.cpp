#include "swage/format/stored_tensors.h"

#include <algorithm>

#include "swage/base/error.h"

namespace swage::format {
namespace {

using scheme::NumberType;
using scheme::Strategy;

constexpr std::initializer_list<at::ScalarType> kFloats = {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble};

}  // namespace

at::Tensor stored(const TensorLookup& lookup, const std::string& suffix, std::initializer_list<at::ScalarType> dtypes) {
  const at::Tensor tensor = lookup(suffix);
  SWAGE_CHECK(tensor.defined(), CorruptData, suffix, " is missing");
  const bool known = std::find(dtypes.begin(), dtypes.end(), tensor.scalar_type()) != dtypes.end();
  SWAGE_CHECK(known, CorruptData, suffix, ": expected ", c10::toString(*dtypes.begin()), ", found ", c10::toString(tensor.scalar_type()));
  return tensor.cpu().contiguous();
}

at::Tensor stored(const TensorLookup& lookup, const std::string& suffix, std::initializer_list<at::ScalarType> dtypes,
                  const std::vector<int64_t>& shape) {
  at::Tensor tensor = stored(lookup, suffix, dtypes);
  check_shape(suffix, tensor, shape);
  return tensor;
}

at::Tensor stored_codes(const TensorLookup& lookup, at::ScalarType dtype) {
  at::Tensor codes_OI = stored(lookup, "weight", {dtype});
  SWAGE_CHECK(codes_OI.dim() == 2 && codes_OI.numel() > 0, CorruptData, "weight: expected a matrix, found shape ",
              io::shape_text(codes_OI.sizes().vec()));
  return codes_OI;
}

void check_shape(const std::string& suffix, const at::Tensor& tensor, const std::vector<int64_t>& shape) {
  SWAGE_CHECK(tensor.sizes().vec() == shape, CorruptData, suffix, ": expected shape ", io::shape_text(shape), ", found ",
              io::shape_text(tensor.sizes().vec()));
}

int64_t stored_groups(const scheme::QuantizationArgs& args, int64_t columns) {
  if (args.strategy != Strategy::Group) return 1;
  const int64_t size = args.group_size.value_or(0);
  SWAGE_CHECK(size > 0 && columns % size == 0, CorruptData, "weight_scale: ", columns, " columns do not split into groups of ", size);
  return columns / size;
}

std::vector<int64_t> scale_shape(const scheme::QuantizationArgs& args, int64_t rows, int64_t columns) {
  if (args.strategy == Strategy::Tensor) return {1};
  return {rows, columns / columns_per_scale(args, columns)};
}

at::Tensor stored_scale(const scheme::QuantizationArgs& args, const TensorLookup& lookup, int64_t rows, int64_t columns) {
  const int64_t groups = stored_groups(args, columns);
  at::Tensor scale = stored(lookup, "weight_scale", kFloats);
  const bool whole = args.strategy == Strategy::Tensor;
  if (whole && scale.dim() == 0) scale = scale.reshape({1});
  if (!whole && groups == 1 && scale.dim() == 1 && scale.size(0) == rows) scale = scale.reshape({rows, 1});
  check_shape("weight_scale", scale, whole ? std::vector<int64_t>{1} : std::vector<int64_t>{rows, groups});
  return scale;
}

QuantizedWeight checked_for_packing(const scheme::QuantizationArgs& args, const QuantizedWeight& weight, at::ScalarType codes) {
  SWAGE_CHECK(weight.codes_OI.defined() && weight.codes_OI.scalar_type() == codes && weight.codes_OI.dim() == 2, InvalidArgument,
              "codes: expected a matrix of ", c10::toString(codes));
  const std::vector<int64_t> shape = scale_shape(args, weight.codes_OI.size(0), weight.codes_OI.size(1));
  SWAGE_CHECK(weight.scale_OG.defined() && weight.scale_OG.is_floating_point() && weight.scale_OG.sizes() == at::IntArrayRef(shape), InvalidArgument,
              "scale: expected floats of shape ", io::shape_text(shape));
  QuantizedWeight ready{weight.codes_OI.cpu().contiguous(), weight.scale_OG.cpu().contiguous(), {}, {}};
  if (!args.symmetric) {
    const at::Tensor& zero_point = weight.zero_point_OG;
    SWAGE_CHECK(zero_point.defined() && zero_point.scalar_type() == at::kChar && zero_point.sizes() == at::IntArrayRef(shape), InvalidArgument,
                "zero point: expected int8 of shape ", io::shape_text(shape));
    ready.zero_point_OG = zero_point.cpu().contiguous();
  }
  if (weight.g_idx_I.defined()) ready.g_idx_I = weight.g_idx_I.to(at::kCPU, at::kInt).contiguous();
  return ready;
}

void check_representable(std::string_view format, const scheme::QuantizationArgs& args) {
  const bool integer = args.type == NumberType::Int && args.num_bits <= 8;
  const bool fp8 = args.type == NumberType::Float && args.num_bits == 8 && args.symmetric && !args.scale_dtype;
  SWAGE_CHECK(integer || fp8, Unsupported, format, ": weights of type ", name_of(args.type), " with ", args.num_bits, " bits",
              args.symmetric ? "" : " and zero points", args.scale_dtype ? " and " + *args.scale_dtype + " scales" : "");
  const Strategy strategy = args.strategy;
  SWAGE_CHECK(strategy == Strategy::Tensor || strategy == Strategy::Channel || strategy == Strategy::Group, Unsupported, format,
              ": weights with strategy ", name_of(strategy));
}

}  // namespace swage::format
