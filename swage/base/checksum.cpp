#include "swage/base/checksum.h"

#include <cstring>

namespace swage {
uint64_t checksum(std::string_view bytes, uint64_t seed) {
  uint64_t hash = mix_hash(seed, bytes.size());
  size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + at, 8);
    hash = mix_hash(hash, word);
  }
  uint64_t rest = 0;
  std::memcpy(&rest, bytes.data() + at, bytes.size() - at);
  return mix_hash(hash, rest);
}

namespace {

// Finalizer of MurmurHash3 (Appleby): each bit of the input changes about half of the result's. Without it changes of
// two lanes can cancel.
uint64_t avalanche(uint64_t hash) {
  hash ^= hash >> 33;
  hash *= 0xff51afd7ed558ccdu;
  hash ^= hash >> 33;
  hash *= 0xc4ceb9fe1a85ec53u;
  return hash ^ (hash >> 33);
}

}  // namespace

uint64_t wide_checksum(std::string_view bytes, uint64_t seed) {
  constexpr size_t kWords = 8, kStep = 8 * kWords;
  uint64_t lanes[kWords] = {1, 2, 3, 4, 5, 6, 7, 8};
  size_t at = 0;
  for (; at + kStep <= bytes.size(); at += kStep) {
    uint64_t words[kWords];
    std::memcpy(words, bytes.data() + at, kStep);
    for (size_t k = 0; k < kWords; ++k) lanes[k] = mix_hash(lanes[k], words[k]);
  }
  uint64_t rest[kWords] = {};
  std::memcpy(rest, bytes.data() + at, bytes.size() - at);
  uint64_t hash = mix_hash(seed, bytes.size());
  for (size_t k = 0; k < kWords; ++k) hash = avalanche(mix_hash(avalanche(mix_hash(hash, lanes[k])), rest[k]));
  return hash;
}

std::string hex64(uint64_t value) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out(16, '0');
  for (int i = 15; i >= 0; --i, value >>= 4) out[size_t(i)] = kDigits[value & 15];
  return out;
}

}  // namespace swage
