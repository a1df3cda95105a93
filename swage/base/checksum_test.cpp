#include "swage/base/checksum.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace swage {
namespace {

// Any single bit, any length and the seed make a difference.
TEST(Checksum, SeesEveryBit) {
  const std::string text = "nineteen characters";
  std::set<uint64_t> seen = {checksum(text), checksum(text, 1), checksum(text + '\0'), checksum(""),
                             checksum(std::string(1, '\0'))};
  for (size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string other = text;
    other[bit / 8] = char(other[bit / 8] ^ (1 << bit % 8));
    seen.insert(checksum(other));
  }
  EXPECT_EQ(seen.size(), 5 + text.size() * 8);
}

TEST(Checksum, HexHasSixteenDigits) {
  EXPECT_EQ(hex64(0), "0000000000000000");
  EXPECT_EQ(hex64(0xfedcba9876543210u), "fedcba9876543210");
}

// Every byte, its place and the length count, at every length around the step of 64 bytes.
TEST(Checksum, TheWideOneSeesEveryByte) {
  for (const int flipped : {1, 2, 128, 255}) {
    std::set<uint64_t> seen;
    size_t made = 0;
    for (size_t length = 0; length < 200; ++length) {
      std::string bytes(length, 'a');
      seen.insert(wide_checksum(bytes, 7));
      ++made;
      for (size_t i = 0; i < length; ++i, ++made) {
        bytes[i] = char(bytes[i] ^ flipped);
        seen.insert(wide_checksum(bytes, 7));
        bytes[i] = char(bytes[i] ^ flipped);
      }
    }
    EXPECT_EQ(seen.size(), made) << flipped;
  }
  EXPECT_NE(wide_checksum("abc", 7), wide_checksum("abc", 8));
}

}  // namespace
}  // namespace swage
