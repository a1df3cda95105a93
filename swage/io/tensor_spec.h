// Name, element type and shape of a tensor: what a checkpoint's index knows before any byte of data.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "swage/io/dtype.h"

namespace swage::io {

struct TensorSpec {
  std::string name;
  Dtype dtype = Dtype::F32;
  std::vector<int64_t> shape;
  bool operator==(const TensorSpec&) const = default;
};

// Bytes of the tensor's data; Error(CorruptData) naming it if a dimension is negative, if the product overflows
// (also where another dimension is 0: strides would), or if sub-byte elements do not fill whole bytes.
uint64_t data_bytes(const TensorSpec& spec);
// "[64, 128]"
std::string shape_text(const std::vector<int64_t>& shape);
// A name out of a file for use in a message: in double quotes, control characters escaped as in JSON.
std::string quoted(std::string_view name);

}  // namespace swage::io
