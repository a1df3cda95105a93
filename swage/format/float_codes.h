// Codes of 4 and 6 bits packed into bytes along each row.
//   4 bits (E2M1): byte j holds column 2j in its low half and column 2j + 1 in its high half.
//   6 bits (E2M3: sign, two exponent bits with bias 1, three of mantissa): four consecutive codes c0..c3 form the
//   24-bit number c0 + c1 2^6 + c2 2^12 + c3 2^18, stored low byte first.
// Plain functions on memory.
#pragma once
#include <cstdint>

namespace swage::format {

// `count` is even. False if a code is above 15.
bool pack_nibble_pairs(const uint8_t* codes, int64_t count, uint8_t* bytes);
void unpack_nibble_pairs(const uint8_t* bytes, int64_t count, uint8_t* codes);

// From and to the FP8 E4M3 codes of the same values, of which E2M3 has a part. `count` is a multiple of 4. False if a
// value has no code of 6 bits.
bool pack_six_bits(const uint8_t* e4m3, int64_t count, uint8_t* bytes);
void unpack_six_bits(const uint8_t* bytes, int64_t count, uint8_t* e4m3);

}  // namespace swage::format
