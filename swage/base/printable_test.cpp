#include "swage/base/printable.h"

#include <gtest/gtest.h>

#include "swage/base/error.h"

namespace swage {
namespace {

TEST(Printable, ShowsWhatATerminalWouldObey) {
  EXPECT_EQ(printable("\x1b]0;owned\x07\x1b[2J"), "\\x1b]0;owned\\x07\\x1b[2J");
  EXPECT_EQ(printable("a\rb\x7f\b"), "a\\x0db\\x7f\\x08");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\x9b31m");  // C1: CSI in one character
  EXPECT_EQ(printable("x\xe2\x80\xae"
                      "cod.\xe2\x81\xa9"),
            "x\\u202ecod.\\u2069");  // turns what follows around
  EXPECT_EQ(printable("\xff\xc3(\xed\xa0\x80"), "\\xff\\xc3(\\xed\\xa0\\x80");
}

TEST(Printable, LeavesTextAlone) {
  for (const char* text :
       {"", "model.layers.0", "two\nlines\tand a tab", "caf\xc3\xa9 \xe6\xbc\xa2\xe5\xad\x97 \xf0\x9f\x98\x80",
        "\xe2\x80\x99\xe2\x84\xa2", "C:\\x1b"}) {
    EXPECT_EQ(printable(text), text);
  }
}

TEST(Printable, OneLineIsShortAndSaysWhatItLeavesOut) {
  EXPECT_EQ(one_line("a\nb", 100), "a\\nb");
  const std::string text = one_line(std::string(1'700'000, 'x') + " the end", 300);
  EXPECT_LE(text.size(), 300u);
  EXPECT_EQ(text.substr(0, 5), "xxxxx");
  EXPECT_NE(text.find("bytes left out"), std::string::npos);
  EXPECT_TRUE(text.ends_with(" the end")) << text;
  std::string wide;
  for (int i = 0; i < 1000; ++i) wide += "\xc3\xa9";
  EXPECT_EQ(one_line(wide, 101).find("\\x"), std::string::npos);  // no character is cut in two
}

TEST(Printable, LongNamesAreCutAndTheWordsAroundThemStay) {
  const std::string name(1'700'000, 'x'), text = with_short_names(cat("model_type \"", name, "\" is not \"known\""));
  EXPECT_LT(text.size(), 170u);
  EXPECT_TRUE(text.starts_with("model_type \"xxx")) << text;
  EXPECT_TRUE(text.ends_with("x\" is not \"known\"")) << text;
  EXPECT_EQ(with_short_names(text), text);
  const std::string escaped = cat("tensor \"a\\\"", std::string(200, 'n'), "\" is \"b\"");
  EXPECT_TRUE(with_short_names(escaped).ends_with("n\" is \"b\""));
  for (const std::string same : {"", "\"", "no quotes", "\"a\" and \"b", "ends in \\", "\"\\"})
    EXPECT_EQ(with_short_names(same), same);
}

// Whoever throws it: names come from files.
TEST(Error, IsOneShortLineWhateverTheNamesInItHold) {
  Error error(ErrorKind::CorruptData, cat("tensor \x1b[31m", std::string(1'000'000, 'n'), "\nswage: done"));
  error.add_context("folder\x07");
  const std::string text = error.what();
  EXPECT_LE(text.size(), 2100u);
  EXPECT_EQ(text.find_first_of("\x1b\n\x07"), std::string::npos);
  EXPECT_TRUE(text.starts_with("folder\\x07: tensor \\x1b[31mnnn")) << text.substr(0, 100);
  EXPECT_TRUE(text.ends_with("n\\nswage: done"));
}

}  // namespace
}  // namespace swage
