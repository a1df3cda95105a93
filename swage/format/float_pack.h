// Floats of 4, 6 and 8 bits in small groups.
//   nvfp4-pack-quantized  weight_packed       U8 [O, I / 2], E2M1 codes in pairs (float_codes.h)
//                         weight_scale        F8_E4M3 [O, I / 16], row-major
//                         weight_global_scale F32 [1]. A group's scale is weight_scale / weight_global_scale.
//   mxfp4-pack-quantized  weight_packed       U8 [O, I / 2], as above
//                         weight_scale        U8 [O, I / 32], exponents e of scales 2^(e-127)
//   mxfp6-pack-quantized  weight_packed       U8 [O, 3 I / 4], E2M3 codes in fours (float_codes.h); in memory as FP8
//                         weight_scale        U8 [O, I / 32], as above
//   mxfp8-quantized       weight              F8_E4M3 [O, I], one code an element
//                         weight_scale        U8 [O, I / 32], as above
// All are symmetric and hold whole groups only. compressed-tensors 0.13 stored e - 2 in mxfp4-pack-quantized.
#pragma once
#include "swage/format/format.h"

namespace swage::format::float_pack {

enum class Kind { Nvfp4, Mxfp4, Mxfp6, Mxfp8 };

// Instantiated for every kind in float_pack.cpp; rows of the table of formats.
template <Kind kind>
std::vector<io::TensorSpec> specs(const scheme::QuantizationArgs& args, int64_t rows, int64_t columns,
                                  io::Dtype scale_dtype);
template <Kind kind>
std::vector<int64_t> shape(const scheme::QuantizationArgs& args, const TensorLookup& lookup);
// Error(InvalidArgument) if a code does not fit into the bits.
template <Kind kind>
std::vector<std::pair<std::string, at::Tensor>> pack(const scheme::QuantizationArgs& args,
                                                     const QuantizedWeight& weight);
template <Kind kind>
QuantizedWeight unpack(const scheme::QuantizationArgs& args, const TensorLookup& lookup);
// Mxfp4 with exponents 2 too small.
QuantizedWeight unpack_mxfp4_before_0_14(const scheme::QuantizationArgs& args, const TensorLookup& lookup);

}  // namespace swage::format::float_pack
