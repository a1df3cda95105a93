// pack-quantized: integer codes of 1 to 8 bits, packed along each row.
//   weight_packed     I32 [O, W], one bit stream a row (bit_stream.h), W = ceil(I * b / 32)
//   weight_scale      model dtype; [O, G], [1] for strategy tensor
//   weight_zero_point asymmetric only: I32 [ceil(O * b / 32), G], one bit stream a column; I8 [1] for strategy tensor
//   weight_g_idx      I32 [I], only where groups were formed of sorted columns (actorder group)
//   weight_shape      I64 [2] = [O, I], the only record of I where the last word is not full
// compressed-tensors before 0.18 put floor(32/b) codes into a word; that differs for 3, 5, 6 and 7 bits.
#pragma once
#include "swage/format/format.h"

namespace swage::format::pack_quantized {

std::vector<io::TensorSpec> specs(const scheme::QuantizationArgs& args, int64_t rows, int64_t columns,
                                  io::Dtype scale_dtype);
// Error(InvalidArgument) if a code lies outside the args' bits.
std::vector<std::pair<std::string, at::Tensor>> pack(const scheme::QuantizationArgs& args,
                                                     const QuantizedWeight& weight);
// The layout is told by the shapes; where both fit it is the dense one, or with _before_0_18 the older one.
// A weight_g_idx holding -1, or groups of consecutive columns, counts as none.
QuantizedWeight unpack(const scheme::QuantizationArgs& args, const TensorLookup& lookup);
QuantizedWeight unpack_before_0_18(const scheme::QuantizationArgs& args, const TensorLookup& lookup);
std::vector<int64_t> shape(const scheme::QuantizationArgs& args, const TensorLookup& lookup);

}  // namespace swage::format::pack_quantized
