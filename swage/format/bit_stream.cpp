#include "swage/format/bit_stream.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace swage::format {
namespace {

static_assert(std::endian::native == std::endian::little, "words are read and written as they lie in memory");

constexpr uint64_t kEachByte = 0x0101010101010101;

uint64_t load_eight(const int8_t* codes) {
  uint64_t eight;
  std::memcpy(&eight, codes, 8);
  return eight;
}

// Adds `addend` (0..127) to each byte; no carry crosses into the next.
uint64_t add_to_bytes(uint64_t bytes, uint64_t addend) {
  const uint64_t top = kEachByte << 7;
  return ((bytes & ~top) + kEachByte * addend) ^ (bytes & top);
}

// Eight codes of four bits at a time, in one 64-bit register.
bool pack_nibbles(const int8_t* codes, int64_t words, uint32_t* out) {
  uint64_t outside = 0;
  for (int64_t w = 0; w < words; ++w) {
    uint64_t u = add_to_bytes(load_eight(codes + 8 * w), 8);
    outside |= u;
    u = (u | u >> 4) & 0x00FF00FF00FF00FF;
    u = (u | u >> 8) & 0x0000FFFF0000FFFF;
    out[w] = uint32_t(u | u >> 16);
  }
  return (outside & (kEachByte * 0xF0)) == 0;
}

void unpack_nibbles(const uint32_t* words, int64_t count, int8_t* codes) {
  for (int64_t w = 0; w < count; ++w) {
    uint64_t u = words[w];
    u = (u | u << 16) & 0x0000FFFF0000FFFF;
    u = (u | u << 8) & 0x00FF00FF00FF00FF;
    u = (u | u << 4) & (kEachByte * 0x0F);
    const uint64_t top = kEachByte << 7;  // lent to each byte so that none borrows
    u = ((u | top) - kEachByte * 8) ^ top;
    std::memcpy(codes + 8 * w, &u, 8);
  }
}

void flip_top_bits(const int8_t* from, int64_t count, int8_t* to) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const uint64_t flipped = load_eight(from + i) ^ (kEachByte << 7);
    std::memcpy(to + i, &flipped, 8);
  }
  for (; i < count; ++i) to[i] = int8_t(from[i] ^ -128);
}

// Any width: collects codes in a register and stores 32 bits whenever they are there. `per_word` > 0 ends a word after
// that many codes.
bool pack_any(const int8_t* codes, int64_t count, int bits, int64_t per_word, uint32_t* words) {
  const int half = 1 << (bits - 1);
  uint64_t collected = 0;
  uint32_t outside = 0;
  int filled = 0;
  int64_t in_word = 0;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t u = uint32_t(codes[i] + half);
    outside |= u;
    collected |= uint64_t(u & 0xFF) << filled;
    filled += bits;
    if (per_word ? ++in_word == per_word : filled >= 32) {
      *words++ = uint32_t(collected);
      collected = per_word ? 0 : collected >> 32;
      filled = per_word ? 0 : filled - 32;
      in_word = 0;
    }
  }
  if (filled > 0) *words = uint32_t(collected);
  return outside >> bits == 0;
}

void unpack_any(const uint32_t* words, int64_t count, int bits, int64_t per_word, int8_t* codes) {
  const int half = 1 << (bits - 1);
  const uint32_t mask = (1u << bits) - 1;
  uint64_t collected = 0;
  int filled = 0;
  int64_t in_word = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (filled < bits || (per_word && in_word == per_word)) {
      collected = per_word ? *words++ : collected | uint64_t(*words++) << filled;
      filled = per_word ? 32 : filled + 32;
      in_word = 0;
    }
    codes[i] = int8_t(int(collected & mask) - half);
    collected >>= bits;
    filled -= bits;
    ++in_word;
  }
}

int64_t per_word_of(int bits, WordLayout layout) { return layout == WordLayout::Separate && 32 % bits ? 32 / bits : 0; }

}  // namespace

int64_t words_for(int64_t count, int bits, WordLayout layout) {
  const int64_t per_word = per_word_of(bits, layout);
  return per_word ? (count + per_word - 1) / per_word : (count * bits + 31) / 32;
}

bool pack_codes(const int8_t* codes, int64_t count, int bits, WordLayout layout, uint32_t* words) {
  const int64_t whole = count * bits / 32;  // words that codes fill entirely, where no code straddles
  const int64_t done = whole * 32 / bits;
  if (bits == 4) {
    const bool fits = pack_nibbles(codes, whole, words);
    return pack_any(codes + done, count - done, bits, 0, words + whole) && fits;
  }
  if (bits == 8) {
    flip_top_bits(codes, done, reinterpret_cast<int8_t*>(words));
    return pack_any(codes + done, count - done, bits, 0, words + whole);
  }
  return pack_any(codes, count, bits, per_word_of(bits, layout), words);
}

void unpack_codes(const uint32_t* words, int64_t count, int bits, WordLayout layout, int8_t* codes) {
  const int64_t whole = count * bits / 32;
  const int64_t done = whole * 32 / bits;
  if (bits == 4) {
    unpack_nibbles(words, whole, codes);
    unpack_any(words + whole, count - done, bits, 0, codes + done);
  } else if (bits == 8) {
    flip_top_bits(reinterpret_cast<const int8_t*>(words), count, codes);
  } else {
    unpack_any(words, count, bits, per_word_of(bits, layout), codes);
  }
}

}  // namespace swage::format
