// marlin-24: the layout of a GPU kernel for 2:4 sparse weights, which compressed-tensors up to 0.14 could store.
// Integers of 4 or 8 bits, symmetric, one scale a row or groups of 128; of every four columns two are kept. O outputs
// (multiple of 64), I inputs (multiple of 32), b bits, f = 32 / b codes a word.
//   weight_packed I32 [I / 32, O 16 / f]  the kept codes plus 2^(b-1), in tiles of 16 x 16 of the transposed matrix [I
//   / 2, O],
//                                         permuted in runs of 1024
//   scale_packed  F16 [G, O]              permuted in runs of 64 where groups are smaller than I / 2
//   meta          I16 [I / 32, 2 O]       for every four columns which two, two bits each; words permuted
// The functions of marlin_24.cpp spell the permutations out. Read only.
#pragma once
#include "swage/format/format.h"

namespace swage::format::marlin_24 {

std::vector<io::TensorSpec> specs(const scheme::QuantizationArgs& args, int64_t rows, int64_t columns,
                                  io::Dtype scale_dtype);
std::vector<int64_t> shape(const scheme::QuantizationArgs& args, const TensorLookup& lookup);
std::vector<std::pair<std::string, at::Tensor>> pack(const scheme::QuantizationArgs& args,
                                                     const QuantizedWeight& weight);
QuantizedWeight unpack(const scheme::QuantizationArgs& args, const TensorLookup& lookup);

}  // namespace swage::format::marlin_24
