// MmapFile, AtomicFile and FileDescriptor.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "swage/io/atomic_file.h"
#include "swage/io/mmap_file.h"
#include "swage/io/test_files.h"

namespace swage::io {
namespace {

using test::contents_of;
using test::expect_error;
using test::TempFolder;

TEST(MmapFile, MapsTheContents) {
  const TempFolder folder;
  const MmapFile file(folder.write("f", "some bytes"));
  EXPECT_EQ(file.bytes(), "some bytes");
  EXPECT_EQ(file.path(), folder / "f");
}

TEST(MmapFile, AnEmptyFileIsEmpty) {
  const TempFolder folder;
  const MmapFile file(folder.write("f", ""));
  EXPECT_EQ(file.size(), 0u);
  EXPECT_TRUE(file.bytes().empty());
  file.will_need(0, 100);
  file.dont_need(0, 100);
  file.check_size();
}

TEST(MmapFile, CopiesPiecesThroughTheDescriptor) {
  const TempFolder folder;
  const MmapFile file(folder.write("f", "some bytes"));
  char piece[5] = {};
  file.read_at(piece, 4, 5);
  EXPECT_STREQ(piece, "byte");
  expect_error(ErrorKind::Io, "ends at 10, 1 bytes short", [&] { file.read_at(piece, 4, 7); });
}

TEST(MmapFile, RefusesWhatIsNotARegularFile) {
  const TempFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  expect_error(ErrorKind::Io, "expected a regular file, found a pipe", [&] { MmapFile(folder / "pipe"); });
  expect_error(ErrorKind::Io, "expected a regular file, found a folder", [&] { MmapFile{folder.path()}; });
  expect_error(ErrorKind::Io, "expected a regular file, found a device", [] { MmapFile("/dev/zero"); });
  expect_error(ErrorKind::Io, "absent: cannot open: No such file", [&] { MmapFile(folder / "absent"); });
}

TEST(MmapFile, AdviceChangesNoByte) {
  const TempFolder folder;
  std::string text(100'000, 'x');
  for (size_t i = 0; i < text.size(); ++i) text[i] = char(i * 31 % 251);
  const MmapFile file(folder.write("f", text));
  EXPECT_EQ(file.bytes(), text);
  for (const uint64_t offset : {0, 1, 4095, 4096, 4097, 99'999, 100'000}) {
    for (const uint64_t length : {0, 1, 4096, 10'000, 1'000'000}) {
      file.dont_need(offset, length);
      EXPECT_EQ(file.bytes(), text);
      file.will_need(offset, length);
      EXPECT_EQ(file.bytes(), text);
    }
  }
}

TEST(MmapFile, SeesThatTheFileShrank) {
  const TempFolder folder;
  const MmapFile file(folder.write("f", std::string(10'000, 'x')));
  std::filesystem::resize_file(folder / "f", 20'000);
  file.check_size();
  std::filesystem::resize_file(folder / "f", 100);
  expect_error(ErrorKind::Io, "shrank from 10000 to 100 bytes", [&] { file.check_size(); });
}

TEST(MmapFile, MovesWithItsMap) {
  const TempFolder folder;
  MmapFile first(folder.write("a", "aaaa"));
  MmapFile second(folder.write("b", "bb"));
  second = std::move(first);
  const MmapFile third(std::move(second));
  EXPECT_EQ(third.bytes(), "aaaa");
}

TEST(ReadFile, ReadsUpToItsLimit) {
  const TempFolder folder;
  folder.write("f", "12345");
  EXPECT_EQ(read_file(folder / "f", 5), "12345");
  expect_error(ErrorKind::Io, "has 5 bytes, expected at most 4", [&] { read_file(folder / "f", 4); });
}

TEST(AtomicFile, AppearsOnCommitAndReplaces) {
  const TempFolder folder;
  folder.write("f", "old");
  {
    AtomicFile file(folder / "f");
    file.write("new ");
    file.write("text");
    EXPECT_EQ(contents_of(folder / "f"), "old");
    file.commit();
  }
  EXPECT_EQ(contents_of(folder / "f"), "new text");
  EXPECT_EQ(folder.entries(), 1u);
}

// A rename would put a file in the place of /dev/null for every process of the machine.
TEST(AtomicFile, TakesThePlaceOfFilesAlone) {
  const TempFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  std::filesystem::create_symlink("/dev/null", folder / "link");
  std::filesystem::create_directory(folder / "sub");
  for (const auto& [name, kind] : {std::pair("pipe", "a pipe"), {"link", "a device"}, {"sub", "a folder"}}) {
    expect_error(ErrorKind::Io, cat("expected a regular file or a new name, found ", kind),
                 [&] { write_file_atomically(folder / name, "x"); });
  }
  EXPECT_TRUE(std::filesystem::is_fifo(folder / "pipe"));
  EXPECT_EQ(folder.entries(), 3u);
}

TEST(AtomicFile, LeavesNothingWithoutCommit) {
  const TempFolder folder;
  {
    AtomicFile file(folder / "f");
    file.write("half");
    EXPECT_EQ(folder.entries(), 1u);
  }
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(AtomicFile, HasTheUsualPermissions) {
  const TempFolder folder;
  write_file_atomically(folder / "f", "x");
  struct stat by_us{}, usual{};
  folder.write("g", "x");
  ASSERT_EQ(::stat((folder / "f").c_str(), &by_us) | ::stat((folder / "g").c_str(), &usual), 0);
  EXPECT_EQ(by_us.st_mode, usual.st_mode);
}

TEST(AtomicFile, NamesThePlaceItCannotWrite) {
  const TempFolder folder;
  expect_error(ErrorKind::Io, "cannot create", [&] { write_file_atomically(folder / "no/f", "x"); });
  std::filesystem::create_directory(folder / "d");
  expect_error(ErrorKind::Io, "found a folder", [&] { write_file_atomically(folder / "d", "x"); });
  EXPECT_EQ(folder.entries(), 1u);
}

// A limit on file size stands in for a full disk: the write fails half way.
TEST(AtomicFile, ReportsAFailedWriteAndCleansUp) {
  const TempFolder folder;
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{1000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  expect_error(ErrorKind::Io, "cannot write: File too large",
               [&] { write_file_atomically(folder / "f", std::string(5000, 'x')); });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(FileDescriptor, WritesToAFullDeviceFail) {
  const FileDescriptor full("/dev/full", O_WRONLY);
  expect_error(ErrorKind::Io, "/dev/full: cannot write: No space left", [&] { full.write_at("x", 0); });
}

TEST(FileDescriptor, ReservesTheLength) {
  const TempFolder folder;
  FileDescriptor file(folder / "f", O_RDWR | O_CREAT);
  file.reserve(12'345);
  file.write_at("end", 12'342);
  file.start_writeback(0, 12'345);
  file.sync();
  file.close();
  EXPECT_FALSE(file.is_open());
  EXPECT_EQ(std::filesystem::file_size(folder / "f"), 12'345u);
}

TEST(TemporarySibling, IsHiddenAndNotInUse) {
  const TempFolder folder;
  const std::filesystem::path first = temporary_sibling(folder / "out");
  EXPECT_TRUE(first.filename().string().starts_with(".out.partial-")) << first;
  folder.write(first.filename().string(), "");
  EXPECT_NE(temporary_sibling(folder / "out"), first);
}

TEST(FileDescriptor, CutsAFileShort) {
  const TempFolder folder;
  FileDescriptor file(folder.write("f", "0123456789"), O_RDWR);
  file.truncate(4);
  file.close();
  EXPECT_EQ(read_file(folder / "f"), "0123");
}

}  // namespace
}  // namespace swage::io
