#include "swage/base/utf8.h"

#include <cstdint>
#include <cstring>

namespace swage {
namespace {

struct Lead {
  int following = -1;                     // continuation bytes; -1: not a lead byte
  unsigned char low = 0x80, high = 0xBF;  // bounds of the first continuation byte
};

Lead lead_of(unsigned char byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {1};
  if (byte == 0xE0) return {2, 0xA0, 0xBF};  // below would be overlong
  if (byte == 0xED) return {2, 0x80, 0x9F};  // above are surrogates
  if (byte >= 0xE1 && byte <= 0xEF) return {2};
  if (byte == 0xF0) return {3, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {3};
  if (byte == 0xF4) return {3, 0x80, 0x8F};  // above is beyond U+10FFFF
  return {};
}

}  // namespace

size_t valid_utf8_prefix(std::string_view text) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  size_t i = 0;
  while (i < text.size()) {
    uint64_t eight;
    if (i + 8 <= text.size() && (std::memcpy(&eight, bytes + i, 8), (eight & 0x8080808080808080u) == 0)) {
      i += 8;
      continue;
    }
    if (bytes[i] < 0x80) {
      ++i;
      continue;
    }
    const Lead lead = lead_of(bytes[i]);
    if (lead.following < 0 || text.size() - i <= size_t(lead.following)) return i;
    if (bytes[i + 1] < lead.low || bytes[i + 1] > lead.high) return i;
    for (int k = 2; k <= lead.following; ++k) {
      if ((bytes[i + k] & 0xC0) != 0x80) return i;
    }
    i += size_t(lead.following) + 1;
  }
  return text.size();
}

}  // namespace swage
