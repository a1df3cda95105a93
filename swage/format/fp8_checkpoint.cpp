#include "swage/format/fp8_checkpoint.h"

#include "swage/base/error.h"
#include "swage/format/stored_tensors.h"

namespace swage::format::fp8_checkpoint {
namespace {

// The scale by the one name and in the shapes that the other formats have.
TensorLookup with_one_name(const TensorLookup& lookup) {
  return [lookup](const std::string& suffix) {
    if (suffix != "weight_scale") return lookup(suffix);
    const at::Tensor inverse = lookup("weight_scale_inv"), scale = inverse.defined() ? inverse : lookup("weight_scale");
    return scale.defined() && scale.numel() == 1 && scale.dim() == 2 ? scale.reshape({1}) : scale;
  };
}

[[noreturn]] void refuse_to_write() {
  throw Error(ErrorKind::Unsupported,
              "format fp8 is read only; scheme FP8_BLOCK of compressed-tensors stores the same numbers");
}

}  // namespace

std::vector<io::TensorSpec> specs(const scheme::QuantizationArgs&, int64_t, int64_t, io::Dtype) { refuse_to_write(); }
std::vector<std::pair<std::string, at::Tensor>> pack(const scheme::QuantizationArgs&, const QuantizedWeight&) {
  refuse_to_write();
}

std::vector<int64_t> shape(const scheme::QuantizationArgs&, const TensorLookup& lookup) {
  return stored_codes(lookup, at::kFloat8_e4m3fn).sizes().vec();
}

QuantizedWeight unpack(const scheme::QuantizationArgs& args, const TensorLookup& lookup) {
  QuantizedWeight weight;
  weight.codes_OI = stored_codes(lookup, at::kFloat8_e4m3fn);
  const int64_t rows = weight.codes_OI.size(0), columns = weight.codes_OI.size(1);
  at::Tensor scale = with_one_name(lookup)("weight_scale");
  SWAGE_CHECK(scale.defined(), CorruptData, "weight_scale_inv is missing");
  if (args.strategy == scheme::Strategy::Block && scale.numel() == 1) scale = scale.reshape({1, 1});
  weight.scale_OG = stored_scale(args, [&](const std::string&) { return scale; }, rows, columns,
                                 {at::kFloat, at::kBFloat16, at::kHalf, at::kByte});
  set_blocks(args, weight);
  return weight;
}

}  // namespace swage::format::fp8_checkpoint
