#include "swage/base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "swage/base/error.h"

namespace swage {
namespace {

namespace fs = std::filesystem;

class File : public testing::Test {
 protected:
  File() { fs::create_directories(folder_); }
  ~File() override { fs::remove_all(folder_); }

  fs::path write(const char* name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }
  static std::string refused(const fs::path& path, uint64_t most = 100) {
    try {
      read_regular_file(path, most);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::Io) << e.what();
      const std::string text = e.what();
      EXPECT_EQ(text.substr(0, path.string().size() + 2), path.string() + ": ");
      return text.substr(path.string().size() + 2);
    }
    ADD_FAILURE() << path << " was read";
    return "";
  }

  const fs::path folder_ = fs::temp_directory_path() / cat("swage-file-test-", ::getpid());
};

TEST_F(File, IsReadWholeUpToItsBound) {
  const std::string text = std::string("a\0b", 3) + std::string(3 << 20, 'x');
  const fs::path path = write("f", text);
  EXPECT_EQ(read_regular_file(path, text.size()), text);
  EXPECT_EQ(read_regular_file(write("empty", ""), 0), "");
  EXPECT_EQ(refused(path, text.size() - 1), cat("has ", text.size(), " bytes, expected at most ", text.size() - 1));
  fs::create_symlink("f", folder_ / "link");
  EXPECT_EQ(read_regular_file(folder_ / "link", text.size()), text);
}

// Their length says 0: what is read counts.
TEST_F(File, OfTheKernelAreReadAndBounded) {
  EXPECT_FALSE(read_regular_file("/proc/self/status", 1 << 20).empty());
  EXPECT_EQ(refused("/proc/self/status", 10), "has more than 10 bytes");
}

// None of them is waited for or read: a pipe without a writer blocks its reader, and /dev/zero has no end.
TEST_F(File, OtherKindsAreRefusedAtOnce) {
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  fs::create_symlink("nowhere", folder_ / "dangling");
  fs::create_symlink("loop", folder_ / "loop");
  fs::create_symlink("/dev/zero", folder_ / "zero");
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(refused(folder_ / "pipe"), "expected a regular file, found a pipe");
  EXPECT_EQ(refused(folder_), "expected a regular file, found a folder");
  EXPECT_EQ(refused("/dev/zero"), "expected a regular file, found a device");
  EXPECT_EQ(refused(folder_ / "zero"), "expected a regular file, found a device");
  EXPECT_EQ(refused(folder_ / "dangling"), "cannot open: No such file or directory");
  EXPECT_EQ(refused(folder_ / "loop"), "cannot open: Too many levels of symbolic links");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST_F(File, ASparseGiantIsRefusedByItsLength) {
  const fs::path path = write("giant", "");
  fs::resize_file(path, uint64_t{1} << 40);
  EXPECT_EQ(refused(path), "has 1099511627776 bytes, expected at most 100");
}

TEST_F(File, EntriesAreThereWhateverTheyLeadTo) {
  fs::create_symlink("nowhere", folder_ / "dangling");
  fs::create_symlink("loop", folder_ / "loop");
  EXPECT_TRUE(is_there(folder_ / "dangling"));
  EXPECT_TRUE(is_there(folder_ / "loop"));
  EXPECT_FALSE(is_there(folder_ / "nothing"));
  EXPECT_EQ(kind_of_file(folder_ / "dangling"), "a link that leads nowhere");
  EXPECT_EQ(kind_of_file(folder_ / "nothing"), "nothing");
}

TEST_F(File, JsonFilesNameThemselves) {
  EXPECT_EQ(read_json_file(write("a.json", "{\"n\": 1}")).at("n").as_int(), 1);
  try {
    read_json_file(write("b.json", "{"));
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::CorruptData);
    EXPECT_EQ(std::string(e.what()).rfind((folder_ / "b.json").string() + ": not valid JSON", 0), 0u) << e.what();
  }
}

}  // namespace
}  // namespace swage
