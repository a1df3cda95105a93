#include "swage/format/stored_tensors.h"

#include <algorithm>
#include <string_view>
#include <tuple>

#include "swage/base/error.h"

namespace swage::format {
namespace {

using scheme::NumberType;
using scheme::Strategy;

constexpr std::string_view kScaleTypes[] = {"torch.float32", "torch.bfloat16", "torch.float16", "torch.float64"};
constexpr Strategy kOfRows[] = {Strategy::Tensor, Strategy::Channel, Strategy::Group};  // scales of rows, not of blocks

// The shape a scale must have in a file; Error(CorruptData) if the groups do not divide the columns.
std::vector<int64_t> stored_scale_shape(const scheme::QuantizationArgs& args, int64_t rows, int64_t columns) {
  if (args.strategy == Strategy::Group || args.strategy == Strategy::TensorGroup) {
    const int64_t size = args.group_size.value_or(0);
    SWAGE_CHECK(size > 0 && columns % size == 0, CorruptData, "weight_scale: ", columns,
                " columns do not split into groups of ", size);
  }
  return scale_shape(args, rows, columns);
}

// [] and [O] in the shape they stand for.
at::Tensor reshaped(const at::Tensor& tensor, const std::vector<int64_t>& shape) {
  const bool single = shape == std::vector<int64_t>{1} && tensor.dim() == 0;
  const bool column = shape.size() == 2 && shape[1] == 1 && tensor.dim() == 1 && tensor.size(0) == shape[0];
  return single || column ? tensor.reshape(shape) : tensor;
}

}  // namespace

at::Tensor stored(const TensorLookup& lookup, const std::string& suffix, std::initializer_list<at::ScalarType> dtypes) {
  const at::Tensor tensor = lookup(suffix);
  SWAGE_CHECK(tensor.defined(), CorruptData, suffix, " is missing");
  const bool known = std::find(dtypes.begin(), dtypes.end(), tensor.scalar_type()) != dtypes.end();
  SWAGE_CHECK(known, CorruptData, suffix, ": expected ", c10::toString(*dtypes.begin()), ", found ",
              c10::toString(tensor.scalar_type()));
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
  SWAGE_CHECK(tensor.sizes().vec() == shape, CorruptData, suffix, ": expected shape ", io::shape_text(shape),
              ", found ", io::shape_text(tensor.sizes().vec()));
}

std::vector<int64_t> scale_shape(const scheme::QuantizationArgs& args, int64_t rows, int64_t columns) {
  if (args.strategy == Strategy::Tensor) return {1};
  if (args.strategy != Strategy::Block) return {rows, columns / columns_per_scale(args, columns)};
  SWAGE_CHECK(args.block_structure, InvalidArgument, "strategy block without block_structure");
  return {tiles_over(rows, args.block_structure->first), tiles_over(columns, args.block_structure->second)};
}

at::Tensor stored_scale(const scheme::QuantizationArgs& args, const TensorLookup& lookup, int64_t rows, int64_t columns,
                        std::initializer_list<at::ScalarType> dtypes) {
  const std::vector<int64_t> shape = stored_scale_shape(args, rows, columns);
  const at::Tensor scale = reshaped(stored(lookup, "weight_scale", dtypes), shape);
  check_shape("weight_scale", scale, shape);
  return scale;
}

at::Tensor stored_zero_point(const TensorLookup& lookup, const at::Tensor& scale_OG, at::ScalarType dtype) {
  const at::Tensor zero_point = reshaped(stored(lookup, "weight_zero_point", {dtype}), scale_OG.sizes().vec());
  check_shape("weight_zero_point", zero_point, scale_OG.sizes().vec());
  return zero_point;
}

at::Tensor stored_scalar(const TensorLookup& lookup, const std::string& suffix, bool needed) {
  if (!needed && !lookup(suffix).defined()) return {};
  const at::Tensor scalar = reshaped(stored(lookup, suffix, {at::kFloat}), {1});
  check_shape(suffix, scalar, {1});
  return scalar;
}

QuantizedWeight checked_for_packing(const scheme::QuantizationArgs& args, const QuantizedWeight& weight,
                                    at::ScalarType codes, at::ScalarType scale) {
  SWAGE_CHECK(weight.codes_OI.defined() && weight.codes_OI.scalar_type() == codes && weight.codes_OI.dim() == 2,
              InvalidArgument, "codes: expected a matrix of ", c10::toString(codes));
  const std::vector<int64_t> shape = scale_shape(args, weight.codes_OI.size(0), weight.codes_OI.size(1));
  const auto has_type = [&](at::ScalarType type) {
    return scale == at::ScalarType::Undefined ? at::isFloatingType(type) && c10::elementSize(type) > 1 : type == scale;
  };
  SWAGE_CHECK(weight.scale_OG.defined() && has_type(weight.scale_OG.scalar_type()) &&
                  weight.scale_OG.sizes() == at::IntArrayRef(shape),
              InvalidArgument, "scale: expected ", scale == at::ScalarType::Undefined ? "floats" : c10::toString(scale),
              " of shape ", io::shape_text(shape));
  QuantizedWeight ready;
  ready.codes_OI = weight.codes_OI.cpu().contiguous();
  ready.scale_OG = weight.scale_OG.cpu().contiguous();
  if (!args.symmetric) {
    const at::Tensor& zero_point = weight.zero_point_OG;
    SWAGE_CHECK(
        zero_point.defined() && zero_point.scalar_type() == codes && zero_point.sizes() == at::IntArrayRef(shape),
        InvalidArgument, "zero point: expected ", c10::toString(codes), " of shape ", io::shape_text(shape));
    ready.zero_point_OG = zero_point.cpu().contiguous();
  }
  if (weight.g_idx_I.defined()) ready.g_idx_I = weight.g_idx_I.to(at::kCPU, at::kInt).contiguous();
  set_blocks(args, ready);
  SWAGE_CHECK(ready.block_rows == weight.block_rows && ready.block_columns == weight.block_columns, InvalidArgument,
              "blocks: expected ", ready.block_rows, " x ", ready.block_columns, ", found ", weight.block_rows, " x ",
              weight.block_columns);
  return ready;
}

void set_blocks(const scheme::QuantizationArgs& args, QuantizedWeight& weight) {
  if (args.strategy == Strategy::Block) std::tie(weight.block_rows, weight.block_columns) = *args.block_structure;
}

void check_representable(std::string_view format, const scheme::QuantizationArgs& args, int widest, bool blocks) {
  const std::string scales = args.scale_dtype.value_or("torch.float32");
  const bool plain = std::find(std::begin(kScaleTypes), std::end(kScaleTypes), scales) != std::end(kScaleTypes);
  const bool integer = args.type == NumberType::Int && args.num_bits <= widest;
  const bool fp8 = args.type == NumberType::Float && args.num_bits == 8 && args.symmetric;
  SWAGE_CHECK(plain && (integer || fp8), Unsupported, format, ": weights of type ", name_of(args.type), " with ",
              args.num_bits, " bits", args.symmetric ? "" : " and zero points",
              plain ? "" : " and " + scales + " scales");
  const bool in_blocks = blocks && args.strategy == Strategy::Block && args.block_structure;
  const bool in_rows = std::find(std::begin(kOfRows), std::end(kOfRows), args.strategy) != std::end(kOfRows);
  SWAGE_CHECK(in_rows || in_blocks, Unsupported, format, ": weights with strategy ", name_of(args.strategy));
}

void check_float_groups(std::string_view format, const scheme::QuantizationArgs& args, int bits, Strategy strategy,
                        int64_t group_size, std::string_view scale_dtype) {
  const bool numbers = args.type == NumberType::Float && args.num_bits == bits && args.symmetric;
  SWAGE_CHECK(numbers, Unsupported, format, ": weights of type ", name_of(args.type), " with ", args.num_bits, " bits",
              args.symmetric ? "" : " and zero points");
  SWAGE_CHECK(args.strategy == strategy && args.group_size == group_size, Unsupported, format,
              ": weights with strategy ", name_of(args.strategy), " and groups of ", args.group_size.value_or(0),
              "; it holds strategy ", name_of(strategy), " and groups of ", group_size);
  SWAGE_CHECK(!args.scale_dtype || *args.scale_dtype == scale_dtype, Unsupported, format, ": scales of ",
              args.scale_dtype.value_or(""));
}

}  // namespace swage::format
