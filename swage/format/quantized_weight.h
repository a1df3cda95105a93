// A quantized weight in memory, independent of how it is stored.
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/scheme/quantization.h"

namespace swage::format {

// O output rows, I input columns, G groups of columns (1 for channel and tensor).
struct QuantizedWeight {
  at::Tensor codes_OI;       // int8 signed codes for integers; float8_e4m3fn for FP8
  at::Tensor scale_OG;       // in the dtype it is stored in (the model's); [1] for strategy tensor
  at::Tensor zero_point_OG;  // int8 signed codes, undefined when symmetric
  at::Tensor g_idx_I;        // int32 group of each column; undefined when groups are consecutive columns
};

// The weight as float32 [O, I]: (code - zero_point) * scale, in f32 with the scale as stored.
// On the codes' device. Error(InvalidArgument) if the shapes do not fit together.
at::Tensor dequantize(const QuantizedWeight& weight);
// The same in a few whole-tensor operations: what runs on GPUs, and the plain twin of the CPU's loop.
at::Tensor dequantize_with_tensor_ops(const QuantizedWeight& weight);

}  // namespace swage::format
