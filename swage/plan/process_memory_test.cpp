#include "swage/plan/process_memory.h"

#include <gtest/gtest.h>

#include <vector>

#include "swage/base/memory.h"

namespace swage::pipeline {
namespace {

constexpr double kMebibyte = 1 << 20;

TEST(ProcessMemory, IsTheUsualUnlessThatIsClearlyTooLittle) {
  EXPECT_EQ(process_bytes_from(140 * kMebibyte, 5 * kMebibyte, 2), kProcessBytes);
  EXPECT_EQ(process_bytes_from(153 * kMebibyte, 8 * kMebibyte, 2), kProcessBytes);  // 168 with what comes later
  EXPECT_EQ(process_bytes_from(185 * kMebibyte, 0, 2), 200 * kMebibyte);
  EXPECT_EQ(process_bytes_from(150 * kMebibyte, 48 * kMebibyte, 2),
            205 * kMebibyte);  // buffers of 24 MiB a thread, of which 4 are usual
  EXPECT_EQ(process_bytes_from(150 * kMebibyte, 16 * kMebibyte, 4), kProcessBytes);
}

TEST(ProcessMemory, CoversWhatIsThereAndStaysAsItWasFound) {
  const double first = process_bytes(2, 64, 256, 256);
  EXPECT_GE(first, double(current_rss_bytes()));  // nothing was done yet that it does not count
  const std::vector<char> more(256 << 20, 1);
  EXPECT_EQ(process_bytes(2, 64, 256, 256), first);
  EXPECT_EQ(more[more.size() / 2], 1);
}

}  // namespace
}  // namespace swage::pipeline
