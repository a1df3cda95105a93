// What the blocks of a GGUF tensor mean: float32 values, bit for bit those of ggml's own decoders.
#pragma once
#include <ATen/core/Tensor.h>

#include <string_view>

#include "swage/io/gguf.h"

namespace swage::format {

// Whether decode_gguf() knows the type: all but those whose codes are rows of large tables (IQ1, IQ2, IQ3).
bool decodes_gguf(const io::GgufType& type);
// Whether its elements are plain numbers, one by one, as safetensors has them too: F32, F16, BF16, F64, integers.
bool is_plain_gguf(const io::GgufType& type);

// The values [..], f32, of `blocks`, the bytes of a whole tensor. Error(Unsupported) naming a type that is not decoded.
at::Tensor decode_gguf(const io::GgufType& type, std::string_view blocks, const std::vector<int64_t>& shape);

}  // namespace swage::format
