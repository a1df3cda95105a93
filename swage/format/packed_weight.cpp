#include "swage/format/packed_weight.h"

#include <ATen/ops/isfinite.h>

#include <cmath>

#include "swage/base/error.h"

namespace swage::format {

std::optional<ops::PackedLinear> packed_weight(const QuantizedWeight& weight, int bits) {
  const at::ScalarType type = weight.codes_OI.scalar_type();
  if (weight.block_rows > 0 || (type != at::kChar && type != at::kByte)) return {};
  ops::PackedCodes codes{.codes_OI = weight.codes_OI,
                         .bits = type == at::kByte ? 4 : bits,
                         .scale_OG = weight.scale_OG,
                         .zero_point_OG = weight.zero_point_OG,
                         .group_I = weight.g_idx_I};
  if (weight.scale_OG.scalar_type() == at::kByte) codes.scale_OG = scales_of_exponents(weight.scale_OG);
  if (weight.global_scale.defined()) codes.factor = 1 / double(weight.global_scale.to(at::kFloat).item<float>());
  SWAGE_CHECK(at::isfinite(codes.scale_OG.to(at::kFloat)).all().item<bool>() && std::isfinite(codes.factor), Numerical,
              "weight holds NaN or infinity");
  return ops::PackedLinear::of_codes(codes);
}

}  // namespace swage::format
