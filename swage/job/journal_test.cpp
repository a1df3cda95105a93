#include "swage/job/journal.h"

#include <gtest/gtest.h>

#include "swage/io/test_files.h"

namespace swage::pipeline {
namespace {

using io::test::contents_of;
using io::test::TempFolder;

Json entry(int number, double value) {
  Json out = Json::object();
  out.set("number", number);
  out.set("value", value);
  return out;
}

TEST(Journal, ReadsBackWhatWasAppended) {
  const TempFolder folder;
  const double third = 1.0 / 3, tiny = 4.9e-324;
  {
    Journal journal(folder / "journal");
    EXPECT_FALSE(journal.begun());
    journal.begin(entry(0, third));
    journal.append(entry(1, tiny));
  }
  Journal journal(folder / "journal");
  ASSERT_TRUE(journal.begun());
  EXPECT_EQ(journal.header(), entry(0, third));
  EXPECT_EQ(journal.entries(), std::vector<Json>{entry(1, tiny)});
  journal.append(entry(2, 0));
  EXPECT_EQ(Journal(folder / "journal").entries().size(), 2u);
  journal.begin(entry(3, 0));
  EXPECT_TRUE(Journal(folder / "journal").entries().empty());
}

// Whatever length a crash leaves of the file: the whole lines count, no more and no less, and the next entry follows
// them.
TEST(Journal, CountsWholeLinesOfAFileCutAnywhere) {
  const TempFolder folder;
  std::vector<size_t> ends;
  {
    Journal journal(folder / "journal");
    journal.begin(entry(0, 0.5));
    ends.push_back(contents_of(folder / "journal").size());
    for (int i = 1; i < 4; ++i) {
      journal.append(entry(i, 0.5));
      ends.push_back(contents_of(folder / "journal").size());
    }
  }
  const std::string whole = contents_of(folder / "journal");
  for (size_t length = 0; length <= whole.size(); ++length) {
    folder.write("cut", whole.substr(0, length));
    const size_t lines = size_t(std::count_if(ends.begin(), ends.end(), [&](size_t end) { return end <= length; }));
    Journal journal(folder / "cut");
    ASSERT_EQ(journal.begun(), lines > 0);
    if (lines == 0) continue;
    ASSERT_EQ(journal.entries().size(), lines - 1);
    journal.append(entry(9, 1));
    ASSERT_EQ(Journal(folder / "cut").entries().back(), entry(9, 1));
  }
}

// A damaged line ends the journal, and so does one that follows another than it was written after.
TEST(Journal, DoesNotBelieveDamagedOrStrayLines) {
  const TempFolder folder;
  {
    Journal journal(folder / "journal");
    journal.begin(entry(0, 0.5));
    for (int i = 1; i < 4; ++i) journal.append(entry(i, 0.5));
  }
  const std::string whole = contents_of(folder / "journal");
  for (size_t at = 0; at < whole.size(); at += 3) {
    std::string damaged = whole;
    damaged[at] = char(damaged[at] ^ 1);
    folder.write("damaged", damaged);
    const Journal journal(folder / "damaged");
    ASSERT_LT(journal.begun() ? journal.entries().size() : 0, 3u) << at;
  }
  const size_t second = whole.find('\n') + 1, third = whole.find('\n', second) + 1;
  folder.write("stray", whole.substr(0, second) + whole.substr(third));
  EXPECT_TRUE(Journal(folder / "stray").entries().empty());
}

}  // namespace
}  // namespace swage::pipeline
