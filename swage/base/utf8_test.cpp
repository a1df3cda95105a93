#include "swage/base/utf8.h"

#include <gtest/gtest.h>

namespace swage {
namespace {

TEST(Utf8, OnlyShortestFormsOfScalarValuesAreValid) {
  for (const char* good : {"", "plain ascii of some length", "\xC2\x80", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
                           "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_EQ(valid_utf8_prefix(good), std::string_view(good).size());
  }
  for (const char* bad : {"ab\x80", "ab\xC0\x80", "ab\xC1\xBF", "ab\xE0\x9F\xBF", "ab\xED\xA0\x80",
                          "ab\xF0\x8F\xBF\xBF", "ab\xF4\x90\x80\x80", "ab\xF5\x80\x80\x80", "ab\xC3", "ab\xE2\x82",
                          "ab\xF0\x9F\x98", "ab\xE2\x28\xA1", "ab\xF0\x9F\x28\x80"}) {
    EXPECT_EQ(valid_utf8_prefix(bad), 2u);
  }
}

}  // namespace
}  // namespace swage
