// A matrix of integer codes as 32-bit words, each row packed by itself (bit_stream.h).
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/format/bit_stream.h"

namespace swage::format {

// int8 [R, C], contiguous, to int32 [R, words_for(C, bits, Dense)]. Error(InvalidArgument) if a code does not fit into
// the bits.
at::Tensor pack_rows(const at::Tensor& codes, int bits);
// The inverse: `packed` is contiguous and has words_for(columns, bits, layout) words a row.
at::Tensor unpack_rows(const at::Tensor& packed, int64_t columns, int bits, WordLayout layout);

}  // namespace swage::format
