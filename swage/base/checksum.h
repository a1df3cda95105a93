// A 64-bit digest of bytes, to find out what changed or was damaged. Not for anything that must resist an attacker.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace swage {

// Of words of 8 bytes, little-endian, each mixed in by xor, multiplication and shift; the length counts too. `seed`
// chains digests.
uint64_t checksum(std::string_view bytes, uint64_t seed = 0x2545f4914f6cdd1du);
// A digest with one more word mixed in: what checksum() does for each.
inline uint64_t mix_hash(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
  return hash ^ (hash >> 29);
}
// Another digest for much data: eight independent chains keep the multiplier busy. `seed` chains digests.
uint64_t wide_checksum(std::string_view bytes, uint64_t seed);
// 16 hexadecimal digits.
std::string hex64(uint64_t value);

}  // namespace swage
