#include "swage/format/dense.h"

#include <ATen/ops/round.h>

#include "swage/base/error.h"
#include "swage/format/stored_tensors.h"

namespace swage::format::dense {
namespace {

void check_args(const scheme::QuantizationArgs& args) {
  check_representable("dense", args);
  SWAGE_CHECK(!orders_groups(args), Unsupported, "dense: actorder group");
}

at::Tensor stored_weight(const TensorLookup& lookup) {
  const at::Tensor weight_OI = stored(lookup, "weight", {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble});
  SWAGE_CHECK(weight_OI.dim() == 2 && weight_OI.numel() > 0, CorruptData, "weight: expected a matrix, found shape ",
              io::shape_text(weight_OI.sizes().vec()));
  return weight_OI;
}

// [O, G] or [1] as a value for each column, in the type of the arithmetic.
at::Tensor spread(const at::Tensor& of_OG, int64_t columns, at::ScalarType type) {
  const at::Tensor values = of_OG.to(type);
  return values.dim() == 1 ? values.reshape({1, 1}) : values.repeat_interleave(columns / values.size(1), 1);
}

[[noreturn]] void refuse() { throw Error(ErrorKind::Unsupported, "format \"dense\" is read, not written"); }

}  // namespace

std::vector<io::TensorSpec> specs(const scheme::QuantizationArgs&, int64_t, int64_t, io::Dtype) { refuse(); }

std::vector<std::pair<std::string, at::Tensor>> pack(const scheme::QuantizationArgs&, const QuantizedWeight&) {
  refuse();
}

std::vector<int64_t> shape(const scheme::QuantizationArgs& args, const TensorLookup& lookup) {
  check_args(args);
  return stored_weight(lookup).sizes().vec();
}

QuantizedWeight unpack(const scheme::QuantizationArgs& args, const TensorLookup& lookup) {
  check_args(args);
  const at::Tensor weight_OI = stored_weight(lookup);
  const int64_t rows = weight_OI.size(0), columns = weight_OI.size(1);
  const at::ScalarType type = weight_OI.scalar_type();
  QuantizedWeight weight;
  weight.scale_OG = stored_scale(args, lookup, rows, columns);
  at::Tensor codes_OI = weight_OI.div(spread(weight.scale_OG, columns, type));
  if (!args.symmetric) {
    weight.zero_point_OG = stored_zero_point(lookup, weight.scale_OG, at::kChar);
    codes_OI = codes_OI.add(spread(weight.zero_point_OG, columns, type));
  } else {
    codes_OI = codes_OI.add(0);  // -0 becomes 0, as with the zero points of 0 that symmetric weights have there
  }
  codes_OI = codes_OI.clamp(code_min(args), code_max(args));
  const bool integer = args.type == scheme::NumberType::Int;
  weight.codes_OI = integer ? at::round(codes_OI).nan_to_num(0, 0, 0).to(at::kChar) : codes_OI.to(at::kFloat8_e4m3fn);
  return weight;
}

}  // namespace swage::format::dense
