#include "swage/kernels/number_format.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace swage::kernels {
namespace {

// FP8 E4M3: all 127 finite magnitudes survive, values halfway between go to the even code.
TEST(NumberFormat, E4M3RoundsToNearestEven) {
  float previous = 0;
  for (int code = 1; code < 127; ++code) {
    const int exponent = code >> 3, mantissa = code & 7;
    const float value = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                      : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
    EXPECT_EQ(round_to_e4m3(value), value);
    EXPECT_EQ(encode_e4m3(value), code);
    EXPECT_EQ(encode_e4m3(-value), code | 0x80);
    const float halfway = (previous + value) / 2;
    EXPECT_EQ(encode_e4m3(round_to_e4m3(halfway)), code % 2 == 0 ? code : code - 1);
    previous = value;
  }
}

// FP4 and FP6: all codes survive, values halfway between go to the even code, zero keeps its sign.
TEST(NumberFormat, SmallFloatsRoundToNearestEven) {
  const std::vector<float> e2m1{0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  for (const CodeKind kind : {CodeKind::E2M1, CodeKind::E2M3}) {
    const int codes = kind == CodeKind::E2M1 ? 8 : 32;
    for (int code = 0; code < codes; ++code) {
      const auto byte = static_cast<uint8_t>(code);
      const float value = decode_code(kind, byte);
      if (kind == CodeKind::E2M1) {
        EXPECT_EQ(value, e2m1[static_cast<size_t>(code)]);
      }
      EXPECT_EQ(round_to_code_value(kind, value), value);
      EXPECT_EQ(encode_code(kind, value), code);
      EXPECT_EQ(encode_code(kind, -value), code + codes);
      EXPECT_EQ(decode_code(kind, static_cast<uint8_t>(code + codes)), -value);
      if (code == 0) continue;
      const float halfway = (value + decode_code(kind, static_cast<uint8_t>(code - 1))) / 2;
      EXPECT_EQ(encode_code(kind, round_to_code_value(kind, halfway)), code % 2 == 0 ? code : code - 1);
    }
    EXPECT_EQ(decode_code(kind, static_cast<uint8_t>(codes - 1)), largest_of(kind));
  }
}

// The table of the specification: largest magnitude of a group to exponent byte, for 4, 6 and 8 bits.
TEST(NumberFormat, MxExponents) {
  const std::vector<std::array<float, 4>> table{{1.0f, 125, 125, 119},
                                                {1.5f, 125, 125, 119},
                                                {1.74f, 125, 125, 119},
                                                {1.75f, 126, 125, 120},
                                                {1.93f, 126, 125, 120},
                                                {1.9375f, 126, 126, 120},
                                                {6, 127, 127, 121},
                                                {6.5f, 127, 127, 121},
                                                {7, 128, 127, 122},
                                                {7.5f, 128, 127, 122},
                                                {448, 134, 133, 128},
                                                {447, 133, 133, 127},
                                                {0, 0, 0, 0}};
  for (const auto& [largest, e2m1, e2m3, e4m3] : table) {
    EXPECT_EQ(mx_exponent(largest, CodeKind::E2M1), int(e2m1)) << largest;
    EXPECT_EQ(mx_exponent(largest, CodeKind::E2M3), int(e2m3)) << largest;
    EXPECT_EQ(mx_exponent(largest, CodeKind::E4M3), int(e4m3)) << largest;
  }
  EXPECT_EQ(value_of_exponent(0), 0x1p-127f);
  EXPECT_EQ(value_of_exponent(254), 0x1p127f);
}

}  // namespace
}  // namespace swage::kernels
