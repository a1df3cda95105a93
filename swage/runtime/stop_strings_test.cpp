#include "swage/runtime/stop_strings.h"

#include <gtest/gtest.h>

namespace swage::runtime {
namespace {

// What comes out of pieces, "|" between them; "!" and the string found at a stop.
std::string passed(StopStrings stops, std::initializer_list<const char*> pieces) {
  std::string out;
  for (const char* piece : pieces) out += stops.push(piece) + "|";
  out += stops.finish();
  return stops.is_stopped() ? out + "!" + stops.found() : out;
}

TEST(StopStrings, EndTheTextWhereverThePiecesMeet) {
  EXPECT_EQ(passed(StopStrings({"\n\n"}), {"one\n", "\ntwo", "three"}), "one|||!\n\n");
  EXPECT_EQ(passed(StopStrings({"END"}), {"aE", "N", "Dz"}), "a|||!END");
  EXPECT_EQ(passed(StopStrings({"END"}), {"aE", "N", "x"}), "a||ENx|");
  EXPECT_EQ(passed(StopStrings({"END"}), {"aEEN", "D"}), "aE||!END");
  EXPECT_EQ(passed(StopStrings({"END"}), {"EN"}), "|EN");
  EXPECT_EQ(passed(StopStrings({"b", "a"}), {"xxaab"}), "xx|!a");
  EXPECT_EQ(passed(StopStrings({"aab", "abc"}), {"a", "a", "a", "b"}), "||a||!aab");
  EXPECT_EQ(passed(StopStrings({}), {"a", "b"}), "a|b|");
}

// A stop string of several bytes a character is not cut inside of one: pieces are whole characters.
TEST(StopStrings, TakeWholeCharacters) { EXPECT_EQ(passed(StopStrings({"é!"}), {"é", "é", "!"}), "|é||!é!"); }

}  // namespace
}  // namespace swage::runtime
