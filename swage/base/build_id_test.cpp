#include "swage/base/build_id.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

namespace swage {
namespace {

std::string bytes_of(const std::string& hex) {
  std::string out;
  for (size_t i = 0; i < hex.size(); i += 2) out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return out;
}

// The note as ELF lays it out: sizes of name and description, type 3, "GNU", the id. Found in the file of this very
// program.
TEST(BuildId, IsTheNoteInTheFile) {
  const std::string id = build_id();
  ASSERT_THAT(id, testing::MatchesRegex("[0-9a-f]{40}"));
  std::ifstream in(std::filesystem::read_symlink("/proc/self/exe"), std::ios::binary);
  const std::string file(std::istreambuf_iterator<char>(in), {});
  EXPECT_NE(file.find(bytes_of("04000000"
                               "14000000"
                               "03000000"
                               "474e5500" +
                               id)),
            std::string::npos);
}

}  // namespace
}  // namespace swage
