// Codes of 1 to 8 bits in 32-bit words. A signed code q is stored as the unsigned q + 2^(b-1).
//   Dense:    code j holds bits j*b .. j*b+b-1 of a little-endian bit stream; word w is its bits 32w .. 32w+31, lowest
//   first.
//             A code may straddle two words. W = ceil(count * b / 32).
//   Separate: floor(32/b) codes to a word, code i of a word at bit i*b, the bits above unused. W = ceil(count /
//   floor(32/b)).
// For 1, 2, 4 and 8 bits both are the same. Unused bits are 0.
#pragma once
#include <cstdint>

namespace swage::format {

enum class WordLayout { Dense, Separate };

// Words that `count` codes fill; count * bits must fit in 63 bits.
int64_t words_for(int64_t count, int bits, WordLayout layout);
// Fills words_for(count, bits, layout) words. False, and words without meaning, if a code is not within `bits` bits.
bool pack_codes(const int8_t* codes, int64_t count, int bits, WordLayout layout, uint32_t* words);
void unpack_codes(const uint32_t* words, int64_t count, int bits, WordLayout layout, int8_t* codes);

}  // namespace swage::format
