#include "swage/base/amounts.h"

#include <gtest/gtest.h>

namespace swage {
namespace {

TEST(Amounts, TimesHaveTwoUnitsAndLongOnesAreDays) {
  EXPECT_EQ(seconds_text(0.04), "0.0 s");
  EXPECT_EQ(seconds_text(9.44), "9.4 s");
  EXPECT_EQ(seconds_text(99.4), "99 s");
  EXPECT_EQ(seconds_text(100), "1 min 40 s");
  EXPECT_EQ(seconds_text(3599.6), "1 h 00 min");
  EXPECT_EQ(seconds_text(47.5 * 3600), "47 h 30 min");
  EXPECT_EQ(seconds_text(1442.4 * 3600), "60 d 02 h");
  EXPECT_EQ(seconds_text(1e300).substr(0, 5), "11574");  // 1e15 s in days: bounded, not undefined
}

TEST(Amounts, SizesAndCountsHaveUnits) {
  EXPECT_EQ(bytes_text(1023), "1023 B");
  EXPECT_EQ(bytes_text(51563424), "49.2 MiB");
  EXPECT_EQ(bytes_text(int64_t{5} << 30), "5.0 GiB");
  EXPECT_EQ(count_text(999999), "999999");
  EXPECT_EQ(count_text(134515008), "134.5 M");
  EXPECT_EQ(count_text(8030261248), "8.03 B");
}

}  // namespace
}  // namespace swage
