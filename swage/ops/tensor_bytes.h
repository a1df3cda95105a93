// The memory of a tensor as bytes.
#pragma once
#include <ATen/core/Tensor.h>

#include <string_view>

namespace swage::ops {

// Of a contiguous tensor on the CPU; valid while it lives.
inline std::string_view bytes_of(const at::Tensor& tensor) {
  return {static_cast<const char*>(tensor.const_data_ptr()), size_t(tensor.nbytes())};
}

}  // namespace swage::ops
