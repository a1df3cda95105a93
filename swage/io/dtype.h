// Element types of tensors on disk, by their safetensors names (format as of safetensors 0.8).
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace swage::io {

enum class Dtype : uint8_t {
  Bool,
  F4,
  F6E2M3,
  F6E3M2,
  U8,
  I8,
  F8E5M2,
  F8E4M3,
  F8E8M0,
  F8E4M3Fnuz,
  F8E5M2Fnuz,
  I16,
  U16,
  F16,
  BF16,
  I32,
  U32,
  F32,
  C64,
  F64,
  I64,
  U64,
};

// The name in a safetensors header: "BF16", "F8_E4M3".
std::string_view name_of(Dtype dtype);
std::optional<Dtype> dtype_named(std::string_view name);
// Bits of one element: 4 for F4, 6 for the F6 types, else a multiple of 8.
int bits_of(Dtype dtype);

}  // namespace swage::io
