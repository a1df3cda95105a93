// A quantized weight in memory, independent of how it is stored.
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/scheme/quantization.h"

namespace swage::format {

// O output rows, I input columns, G groups of columns (1 for channel and tensor).
struct QuantizedWeight {
  // int8 signed codes for integers (int16 for more than 8 bits); float8_e4m3fn for FP8, and for FP6, whose values it
  // holds; uint8 with one E2M1 code (0..15) an element for FP4.
  at::Tensor codes_OI = {};
  // In the dtype it is stored in: the model's; float8_e4m3fn under a global scale (NVFP4); uint8 exponents 2^(e-127)
  // (MX). [O, G]; [1] for strategy tensor; [ceil(O / rows), ceil(I / columns)] for strategy block.
  at::Tensor scale_OG = {};
  at::Tensor zero_point_OG = {};  // signed codes of the same type as codes_OI, undefined when symmetric
  at::Tensor g_idx_I = {};        // int32 group of each column; undefined when groups are consecutive columns
  at::Tensor global_scale = {};   // f32 [1]; a group's scale is scale_OG / global_scale. Undefined: 1
  int64_t block_rows = 0, block_columns = 0;  // strategy block only
};

// How many parts of this size cover the whole, the last of them perhaps in part.
inline int64_t tiles_over(int64_t whole, int64_t part) { return whole / part + (whole % part != 0); }

// Exponents e, uint8, as 2^(e-127), f32.
at::Tensor scales_of_exponents(const at::Tensor& exponents);

// The weight as float32 [O, I]: (code - zero_point) * scale, in f32 with the scale as stored.
// On the codes' device. Error(InvalidArgument) if the shapes do not fit together.
at::Tensor dequantize(const QuantizedWeight& weight);
// The same in a few whole-tensor operations: what runs on GPUs, and the plain twin of the CPU's loop.
at::Tensor dequantize_with_tensor_ops(const QuantizedWeight& weight);

}  // namespace swage::format
