#include "swage/io/tensor_spec.h"

#include <algorithm>

#include "swage/base/error.h"
#include "swage/base/json.h"

namespace swage::io {

uint64_t data_bytes(const TensorSpec& spec) {
  int64_t bits = bits_of(spec.dtype);  // signed: a size in bits that fits int64 makes every stride and offset fit
  bool empty = false;
  for (const int64_t dim : spec.shape) {
    SWAGE_CHECK(dim >= 0, CorruptData, "tensor ", quoted(spec.name), ": negative dimension in shape ",
                shape_text(spec.shape));
    empty |= dim == 0;
    SWAGE_CHECK(!__builtin_mul_overflow(bits, std::max<int64_t>(dim, 1), &bits), CorruptData, "tensor ",
                quoted(spec.name), ": shape ", shape_text(spec.shape), " overflows 64 bits");
  }
  if (empty) return 0;
  SWAGE_CHECK(bits % 8 == 0, CorruptData, "tensor ", quoted(spec.name), ": shape ", shape_text(spec.shape), " of ",
              name_of(spec.dtype), " does not fill whole bytes");
  return uint64_t(bits) / 8;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

std::string quoted(std::string_view name) { return Json(name).dump(); }

}  // namespace swage::io
