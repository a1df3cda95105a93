#include "swage/offload/rows.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "swage/base/error.h"

namespace swage::offload {
namespace {

namespace fs = std::filesystem;

const at::TensorOptions kOptions = at::TensorOptions(at::kFloat);

struct Folder {
  fs::path path = fs::current_path() / "rows_test_folder";
  Folder() { fs::create_directory(path); }
  ~Folder() { fs::remove_all(path); }
};

int64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  int64_t pages = 0;
  in >> pages >> pages;
  return pages * ::sysconf(_SC_PAGESIZE);
}

TEST(Rows, KeepWhatWasWrittenOverRelease) {
  const Folder folder;
  for (const int64_t in_memory : {0, 1, 2, 4, 5, 9, -1}) {
    const Tiers tiers = in_memory < 0 ? Tiers() : Tiers{folder.path, in_memory};
    Rows rows(5, 1025, kOptions, tiers);  // no multiple of a page
    EXPECT_EQ(rows.rows_in_file(), in_memory < 0 ? 0 : std::max<int64_t>(0, 5 - in_memory));
    at::manual_seed(1);
    std::vector<at::Tensor> expected;
    for (int64_t r = 0; r < 5; ++r) {
      expected.push_back(at::randn({1025}));
      rows.row(r).copy_(expected.back());
      rows.release(r);
    }
    const Rows moved = std::move(rows);
    for (int64_t r = 0; r < 5; ++r) {
      moved.prefetch(r + 1);
      EXPECT_TRUE(moved.row(r).equal(expected[size_t(r)])) << r;
      moved.release(r);
    }
  }
  EXPECT_TRUE(fs::is_empty(folder.path));
}

TEST(Rows, InAFileTakeMemoryForTheRowInUseAlone) {
  const Folder folder;
  constexpr int64_t kRows = 64, kNumbers = 256 << 10;  // 64 MiB
  const Rows rows(kRows, kNumbers, kOptions, {folder.path});
  const int64_t before = resident_bytes();
  int64_t most = 0;
  for (int64_t r = 0; r < kRows; ++r) {
    rows.row(r).fill_(float(r));
    most = std::max(most, resident_bytes() - before);
    rows.release(r);
  }
  EXPECT_LT(most, 16 << 20);  // a row is 1 MiB; the rest is what the process needs on the way
  for (int64_t r = 0; r < kRows; ++r) EXPECT_EQ(rows.row(r)[kNumbers - 1].item<float>(), float(r));
}

// Of rows that are partly in memory, those of the file are spread evenly: what is resident grows with the share of the
// rows so far, but for a few MiB that the process needs on the way.
TEST(Rows, OfTheFileLieEvenlyBetweenTheOthers) {
  const Folder folder;
  constexpr int64_t kRows = 48, kNumbers = 256 << 10;
  for (const int64_t in_memory : {16, 24, 40}) {
    const Rows rows(kRows, kNumbers, kOptions, {folder.path, in_memory});
    EXPECT_EQ(rows.rows_in_file(), kRows - in_memory);
    const int64_t before = resident_bytes();
    for (int64_t r = 0; r < kRows; ++r) {
      rows.row(r).fill_(float(r));
      rows.release(r);
      const int64_t kept = resident_bytes() - before, share = (r + 1) * in_memory / kRows;
      EXPECT_NEAR(double(kept) / double(1 << 20), double(share), 4) << in_memory << " " << r;
    }
    for (int64_t r = 0; r < kRows; ++r) EXPECT_EQ(rows.row(r)[0].item<float>(), float(r));
  }
}

TEST(Rows, SayWhatKeepsThemFromTheDisk) {
  EXPECT_THROW(check_folder("/no/such/folder"), Error);
  const Folder folder;
  rlimit old = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const rlimit small = {1 << 16, old.rlim_max};
  ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  std::string message;
  try {
    const Rows rows(4, 1 << 16, kOptions, {folder.path});
  } catch (const Error& e) {
    message = e.what();
  }
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
  EXPECT_NE(message.find("cannot reserve 1048576 bytes"), std::string::npos) << message;
  EXPECT_TRUE(fs::is_empty(folder.path));
}

}  // namespace
}  // namespace swage::offload
