#include "swage/runtime/guess.h"

#include <gtest/gtest.h>

namespace swage::runtime {
namespace {

using Ids = std::vector<int64_t>;

TEST(Guess, IsWhatFollowedTheSameTokensTheLastTime) {
  EXPECT_EQ(guess_next(Ids{1, 2, 3, 4, 9, 1, 2, 3, 5, 6, 7, 1, 2, 3}, 2), (Ids{5, 6}));
  EXPECT_EQ(guess_next(Ids{8, 2, 3, 4, 9, 2, 3}, 9), (Ids{4, 9, 2, 3}));  // two tokens, to the end
  EXPECT_EQ(guess_next(Ids{7, 7, 7, 7}, 3), (Ids{7}));
}

TEST(Guess, IsNothingWhereNothingRepeats) {
  EXPECT_EQ(guess_next(Ids{1, 2, 3, 4}, 4), Ids());
  EXPECT_EQ(guess_next(Ids{1, 2, 1}, 4), Ids());
  EXPECT_EQ(guess_next(Ids{}, 4), Ids());
  EXPECT_EQ(guess_next(Ids{1, 2, 3, 1, 2, 3}, 0), Ids());
}

}  // namespace
}  // namespace swage::runtime
