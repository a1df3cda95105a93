// GPTQ: integer codes packed along the inputs, as AutoGPTQ and GPTQModel store them. O outputs, I inputs, G groups, b
// bits.
//   qweight I32 [I b / 32, O]  unsigned codes; those of an output form one little-endian bit stream along dimension 0
//   qzeros  I32 [G, O b / 32]  unsigned zero points, also of symmetric weights; those of a group form one stream along
//   dimension 1 scales  F16 [G, O]         (read in any float type) g_idx   I32 [I]            the group of each input,
//   also where that is input / group size
// G = ceil(I / group size), 1 for one scale an output. O and I are multiples of 32 in what is written.
//   gptq     each field of qzeros holds the zero point less 1. For 2, 4 and 8 bits the 1 is subtracted from all fields
//   of a word as
//            one integer, so that a zero point of 0 borrows from its neighbour; for 3 bits from each field modulo 8.
//   gptq_v2  qzeros holds the zero points
//   gptq_p   (GPTQModel 7) zero points as in v2; 3, 5, 6 and 7 bits are planar: 32 codes become b words, low bits
//   first, in planes of
//            3: 2+1, 5: 4+1, 6: 4+2, 7: 4+2+1 bits. A plane of w bits takes w words; word i holds codes i (32 / w) and
//            on, lowest first.
// A symmetric weight's zero points are 2^(b-1); QuantizedWeight has none then.
#pragma once
#include "swage/format/format.h"

namespace swage::format {

// The layout called `name`: "gptq", "gptq_v2", "gptq_p"; Error(Unsupported) otherwise. Its pack() stores scales in
// their own type and consecutive groups where the weight has no g_idx; Error(InvalidArgument) where a code does not
// fit.
const Format& gptq_format(std::string_view name);
// Whether every reader understands these zero points in format "gptq": none is 0. `zero_point` int8 signed; undefined
// is fine.
bool fits_gptq_v1(const at::Tensor& zero_point, int bits);

}  // namespace swage::format
