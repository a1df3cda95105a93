#include "swage/format/float_codes.h"

#include <array>

namespace swage::format {
namespace {

constexpr uint8_t kNone = 0xFF;  // no code of 6 bits

// E4M3 has bias 7: exponents shift by 6, and the subnormals m/8 of E2M3 are normal there.
constexpr uint8_t e4m3_of(uint8_t code) {
  const uint8_t sign = uint8_t((code & 0x20) << 2);
  unsigned exponent = (code >> 3) & 3, mantissa = code & 7;
  if (exponent > 0) return uint8_t(sign | (exponent + 6) << 3 | mantissa);
  if (mantissa == 0) return sign;
  exponent = 7;  // m/8 = 2^0 * m/8: shift the mantissa up until it has a leading one
  while (!(mantissa & 8)) mantissa <<= 1, --exponent;
  return uint8_t(sign | exponent << 3 | (mantissa & 7));
}

constexpr std::array<uint8_t, 64> make_e4m3() {
  std::array<uint8_t, 64> table{};
  for (unsigned code = 0; code < 64; ++code) table[code] = e4m3_of(uint8_t(code));
  return table;
}

constexpr std::array<uint8_t, 64> kE4M3 = make_e4m3();

constexpr std::array<uint8_t, 256> make_e2m3() {
  std::array<uint8_t, 256> table{};
  for (uint8_t& entry : table) entry = kNone;
  for (unsigned code = 0; code < 64; ++code) table[kE4M3[code]] = uint8_t(code);
  return table;
}

constexpr std::array<uint8_t, 256> kE2M3 = make_e2m3();
static_assert(kE2M3[0x38] == 0x08 && kE2M3[0xB8] == 0x28, "1 and -1");

}  // namespace

bool pack_nibble_pairs(const uint8_t* codes, int64_t count, uint8_t* bytes) {
  uint8_t outside = 0;
  for (int64_t i = 0; i < count / 2; ++i) {
    outside |= codes[2 * i] | codes[2 * i + 1];
    bytes[i] = uint8_t((codes[2 * i] & 15) | codes[2 * i + 1] << 4);
  }
  return outside < 16;
}

void unpack_nibble_pairs(const uint8_t* bytes, int64_t count, uint8_t* codes) {
  for (int64_t i = 0; i < count / 2; ++i) {
    codes[2 * i] = bytes[i] & 15;
    codes[2 * i + 1] = bytes[i] >> 4;
  }
}

bool pack_six_bits(const uint8_t* e4m3, int64_t count, uint8_t* bytes) {
  uint8_t outside = 0;
  for (int64_t i = 0; i < count / 4; ++i) {
    uint32_t four = 0;
    for (int k = 3; k >= 0; --k) {
      const uint8_t code = kE2M3[e4m3[4 * i + k]];
      outside |= code;
      four = four << 6 | (code & 63);
    }
    for (int k = 0; k < 3; ++k) bytes[3 * i + k] = uint8_t(four >> 8 * k);
  }
  return outside < 64;
}

void unpack_six_bits(const uint8_t* bytes, int64_t count, uint8_t* e4m3) {
  for (int64_t i = 0; i < count / 4; ++i) {
    const uint32_t four = uint32_t(bytes[3 * i]) | uint32_t(bytes[3 * i + 1]) << 8 | uint32_t(bytes[3 * i + 2]) << 16;
    for (int k = 0; k < 4; ++k) e4m3[4 * i + k] = kE4M3[four >> 6 * k & 63];
  }
}

}  // namespace swage::format
