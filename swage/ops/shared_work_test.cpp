#include "swage/ops/shared_work.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace swage::ops {
namespace {

// Thousands of calls of every size, so that threads sleep, wake and come late.
TEST(SharedWork, RunsEachPieceOnce) {
  for (int call = 0; call < 3000; ++call) {
    const int64_t pieces = call % 37;
    std::vector<std::atomic<int>> runs(static_cast<size_t>(pieces));
    share_work(pieces, call % 3 != 0, [&](int64_t piece) { ++runs[static_cast<size_t>(piece)]; });
    for (const auto& count : runs) ASSERT_EQ(count, 1) << call;
    if (call % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

// What a piece writes is there when the call returns.
TEST(SharedWork, ResultsAreSeenByTheCaller) {
  std::vector<int64_t> values(1000);
  for (int64_t call = 1; call <= 1000; ++call) {
    share_work(1000, true, [&](int64_t piece) { values[static_cast<size_t>(piece)] += call + piece; });
    for (int64_t i = 0; i < 1000; ++i) ASSERT_EQ(values[static_cast<size_t>(i)], call * (call + 1) / 2 + call * i);
  }
}

TEST(SharedWork, SeveralCallersAndCallsWithinCalls) {
  std::atomic<int64_t> runs = 0;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int call = 0; call < 200; ++call)
        share_work(5, true, [&](int64_t) { share_work(3, true, [&](int64_t) { ++runs; }); });
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(runs, 4 * 200 * 5 * 3);
  at::parallel_for(0, 8, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) share_work(2, true, [&](int64_t) { ++runs; });
  });
  EXPECT_EQ(runs, 4 * 200 * 5 * 3 + 16);
}

}  // namespace
}  // namespace swage::ops
