#include "swage/base/memory.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <vector>

namespace swage {
namespace {

// Blocks with a small one behind each: freeing the large ones leaves holes, which the heap keeps until told otherwise.
TEST(Memory, FreedBlocksGoBackToTheSystem) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer keeps what is freed, to find uses of it";
#endif
  constexpr int kBlocks = 512, kBytes = 100 << 10;  // below the allocator's own threshold for giving back at once
  std::vector<std::unique_ptr<char[]>> large, small;
  for (int i = 0; i < kBlocks; ++i) {
    large.push_back(std::make_unique<char[]>(kBytes));
    std::memset(large.back().get(), 1, kBytes);
    small.push_back(std::make_unique<char[]>(64));
  }
  const int64_t full = current_rss_bytes();
  large.clear();
  release_free_memory();
  EXPECT_LT(current_rss_bytes(), full - int64_t{kBlocks} * kBytes / 2);
  EXPECT_GE(peak_rss_bytes(), full - (1 << 20));  // the kernel counts pages in batches
}

TEST(Memory, SomethingIsAvailable) {
  EXPECT_GT(available_memory_bytes(), uint64_t{16} << 20);  // or this test would not run
  EXPECT_LT(available_memory_bytes(), uint64_t{1} << 50);
}

}  // namespace
}  // namespace swage
