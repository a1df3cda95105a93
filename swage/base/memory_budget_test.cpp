#include "swage/base/memory_budget.h"

#include <gtest/gtest.h>

#include "swage/base/error.h"

namespace swage {
namespace {

TEST(MemoryBudget, Sizes) {
  EXPECT_EQ(parse_bytes("2GiB"), uint64_t{2} << 30);
  EXPECT_EQ(parse_bytes("1.5 GB"), 1'500'000'000u);
  EXPECT_EQ(parse_bytes("4096"), 4096u);
  EXPECT_EQ(parse_memory_budget("cpu=800MiB"), uint64_t{800} << 20);
  EXPECT_EQ(parse_memory_budget("3TB"), 3'000'000'000'000u);
}

TEST(MemoryBudget, RefusesWhatIsNone) {
  for (const char* text : {"", "0", "-1GiB", "2 gib", "GiB", "2GiBx", "nan", "inf", "1e300GiB", "cpu=", "disk=2GiB",
                           "cpu=1GiB,cpu=2GiB", "=2GiB"}) {
    try {
      parse_memory_budget(text);
      ADD_FAILURE() << text;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::InvalidArgument) << text << ": " << e.what();
    }
  }
  try {
    parse_memory_budget("cpu=2GiB,cuda:0=40GiB");
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Unsupported);
  }
}

TEST(MemoryBudget, SizesOfFilesComeBackAsTheyWere) {
  for (const auto& [text, bytes] : {std::pair("5", uint64_t{5} << 30), std::pair("5GB", uint64_t{5'000'000'000}),
                                    std::pair("800MiB", uint64_t{800} << 20), std::pair("0.001", uint64_t{1073741}),
                                    std::pair("2e-5", uint64_t{21474})}) {
    ShardSize size, again;
    read_text(text, size);
    EXPECT_EQ(size, bytes) << text;
    read_text(to_string(size), again);
    EXPECT_EQ(again, bytes) << to_string(size);
  }
  EXPECT_EQ(to_string(ShardSize()), "5GiB");
  ShardSize size;
  for (const char* text : {"", "0", "-1", "nan", "1e300", "5XB"}) EXPECT_THROW(read_text(text, size), Error) << text;
}

TEST(MemoryBudget, BudgetsComeBackAsTheyWere) {
  MemoryBudget budget, again;
  EXPECT_EQ(to_string(budget), "");
  read_text("cpu=1.5GB", budget);
  EXPECT_EQ(budget, uint64_t{1'500'000'000});
  read_text(to_string(budget), again);
  EXPECT_EQ(again, budget);
}

// What an error suggests is enough.
TEST(MemoryBudget, TextIsRoundedUp) {
  for (const uint64_t bytes : {uint64_t{1}, uint64_t{197'000'000}, (uint64_t{1} << 30) - 1, (uint64_t{1} << 30) + 1,
                               uint64_t{123'456'789'012}}) {
    EXPECT_GE(parse_bytes(budget_text(bytes)), bytes) << budget_text(bytes);
    EXPECT_LE(double(parse_bytes(budget_text(bytes))), double(bytes) * 1.01 + (1 << 20)) << budget_text(bytes);
  }
}

}  // namespace
}  // namespace swage
