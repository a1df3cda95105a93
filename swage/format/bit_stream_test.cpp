#include "swage/format/bit_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace swage::format {
namespace {

using testing::ElementsAre;

std::vector<uint32_t> packed(const std::vector<int8_t>& codes, int bits, WordLayout layout) {
  std::vector<uint32_t> words(size_t(words_for(int64_t(codes.size()), bits, layout)), 0xDEADBEEF);
  EXPECT_TRUE(pack_codes(codes.data(), int64_t(codes.size()), bits, layout, words.data()));
  return words;
}

// The plain twin: bit k of code j is bit j*b + k of the stream, or of the code's own place in its word.
std::vector<uint32_t> packed_bit_by_bit(const std::vector<int8_t>& codes, int bits, WordLayout layout) {
  const int64_t per_word = 32 / bits;
  const int64_t total = layout == WordLayout::Dense ? (int64_t(codes.size()) * bits + 31) / 32
                                                    : (int64_t(codes.size()) + per_word - 1) / per_word;
  std::vector<uint32_t> words(size_t(total), 0);
  for (int64_t j = 0; j < int64_t(codes.size()); ++j) {
    const int64_t first = layout == WordLayout::Dense ? j * bits : j / per_word * 32 + j % per_word * bits;
    const unsigned u = unsigned(codes[size_t(j)] + (1 << (bits - 1)));
    for (int k = 0; k < bits; ++k) words[size_t((first + k) / 32)] |= (u >> k & 1) << ((first + k) % 32);
  }
  return words;
}

TEST(BitStream, WorkedExamplesOfTheSpecification) {
  EXPECT_THAT(packed({-8, -7, -6, -5, -4, -3, -2, -1, 0, 1}, 4, WordLayout::Dense),
              ElementsAre(0x76543210u, 0x00000098u));
  EXPECT_THAT(packed({-4, -3, -2, -1, 0, 1, 2, 3, -4, -3, -2, -1}, 3, WordLayout::Dense),
              ElementsAre(0x88FAC688u, 0x00000006u));
  EXPECT_THAT(packed({-128, -1, 0, 127, 5}, 8, WordLayout::Dense), ElementsAre(0xFF807F00u, 0x00000085u));
}

TEST(BitStream, EqualsTheTwinAndComesBackForEveryWidthAndLength) {
  std::mt19937 random(7);
  for (int bits = 1; bits <= 8; ++bits) {
    for (const WordLayout layout : {WordLayout::Dense, WordLayout::Separate}) {
      for (int64_t count = 0; count <= 130; ++count) {
        std::vector<int8_t> codes(static_cast<size_t>(count));
        for (int8_t& code : codes) code = int8_t(int(random() % (1u << bits)) - (1 << (bits - 1)));
        const std::vector<uint32_t> words = packed(codes, bits, layout);
        ASSERT_EQ(words, packed_bit_by_bit(codes, bits, layout)) << bits << " bits, " << count << " codes";
        std::vector<int8_t> back(codes.size(), 99);
        unpack_codes(words.data(), count, bits, layout, back.data());
        ASSERT_EQ(back, codes) << bits << " bits, " << count << " codes";
      }
    }
  }
}

TEST(BitStream, CodesOutsideTheWidthAreNoticedAtEveryPlace) {
  for (int bits = 1; bits < 8; ++bits) {
    const int half = 1 << (bits - 1);
    for (size_t place = 0; place < 21; ++place) {
      for (const int outside : {half, -half - 1, 127, -128}) {
        std::vector<int8_t> codes(21, 0);
        codes[place] = int8_t(outside);
        std::vector<uint32_t> words(21);
        EXPECT_FALSE(pack_codes(codes.data(), 21, bits, WordLayout::Dense, words.data()))
            << bits << " bits, code " << outside;
      }
    }
  }
}

}  // namespace
}  // namespace swage::format
