#include "swage/checkpoint/read_log.h"
#include "swage/io/checkpoint_files.h"

#include <gtest/gtest.h>

#include "swage/io/test_files.h"

namespace swage::checkpoint {
namespace {

using io::test::TempFolder;

// Two tensors of 6 MiB, so that pieces are read in several parts, and a small one.
std::string checkpoint(char a, char b) {
  const std::string big(6 << 20, a), other(6 << 20, b);
  return io::test::safetensors_bytes(
      R"({"a":{"dtype":"U8","shape":[6291456],"data_offsets":[0,6291456]},"b":{"dtype":"U8","shape":[6291456],"data_offsets":[6291456,12582912]},)"
      R"("c":{"dtype":"U8","shape":[2],"data_offsets":[12582912,12582914]}})",
      big + other + "xy");
}

void note_all(ReadLog& log, const io::CheckpointFiles& files) {
  log.note("a", 0, files.bytes("a"));
  log.note("b", 100, files.bytes("b").substr(100, 5 << 20));
  log.note("c", 0, files.bytes("c"));
}

TEST(ReadLog, WhatIsReadAgainMustBeTheSame) {
  ReadLog log;
  log.note("a", 0, "one");
  log.note("a", 0, "one");
  log.note("a", 3, "two");  // another piece
  log.note("a", 0, "on");   // another one
  io::test::expect_error(ErrorKind::CorruptData, "the source changed while it was read: tensor \"a\"",
                         [&] { log.note("a", 3, "owt"); });
}

TEST(ReadLog, FindsWhatChangedSince) {
  const TempFolder folder;
  folder.write("model.safetensors", checkpoint('1', '2'));
  ReadLog log;
  note_all(log, io::CheckpointFiles(folder.path()));
  EXPECT_TRUE(log.changed(io::CheckpointFiles(folder.path()), 3).empty());
  folder.write("model.safetensors", checkpoint('1', '3'));
  EXPECT_EQ(log.changed(io::CheckpointFiles(folder.path()), 3), (std::vector<std::string>{"b"}));
  folder.write("model.safetensors", checkpoint('4', '3'));
  EXPECT_EQ(log.changed(io::CheckpointFiles(folder.path()), 3), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(log.changed(io::CheckpointFiles(folder.path()), 1).size(), 1u);
  folder.write("model.safetensors",
               io::test::safetensors_bytes(R"({"c":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "xy"));
  EXPECT_EQ(log.changed(io::CheckpointFiles(folder.path()), 9), (std::vector<std::string>{"a", "b"}));  // gone
}

// Every third byte of ten of a tensor: what lies between them does not matter.
TEST(ReadLog, SeveralRunsAreOnePiece) {
  const auto checkpoint_of = [](const std::string& bytes) {
    return io::test::safetensors_bytes(R"({"t":{"dtype":"U8","shape":[10],"data_offsets":[0,10]}})", bytes);
  };
  const TempFolder folder;
  ReadLog log, later;
  log.note_runs("t", 1, 3, 3, "bcefhi");
  const std::string text = log.take_news().dump();
  EXPECT_EQ(parse_json(text, "journal").at("t").as_array().size(), 1u);
  later.restore(parse_json(text, "journal"));
  for (const auto& [bytes, same] :
       {std::pair("abcdefghij", true), {"_bc_ef_hi_", true}, {"abcdeXghij", false}, {"abcdefghXj", false}}) {
    folder.write("model.safetensors", checkpoint_of(bytes));
    EXPECT_EQ(later.changed(io::CheckpointFiles(folder.path()), 3).empty(), same) << bytes;
  }
  io::test::expect_error(ErrorKind::CorruptData, "the source changed while it was read",
                         [&] { log.note_runs("t", 1, 3, 3, "bcefhj"); });
  log.note("t", 1, "bcefhj");  // another piece
}

TEST(ReadLog, GoesThroughAJournal) {
  const TempFolder folder;
  folder.write("model.safetensors", checkpoint('1', '2'));
  ReadLog log, later;
  note_all(log, io::CheckpointFiles(folder.path()));
  const std::string text = log.take_news().dump();
  EXPECT_EQ(log.take_news().dump(), "{}");
  later.restore(parse_json(text, "journal"));
  EXPECT_EQ(later.take_news().dump(), "{}");
  EXPECT_TRUE(later.changed(io::CheckpointFiles(folder.path()), 3).empty());
  folder.write("model.safetensors", checkpoint('5', '2'));
  EXPECT_EQ(later.changed(io::CheckpointFiles(folder.path()), 3), (std::vector<std::string>{"a"}));
  io::test::expect_error(ErrorKind::CorruptData, "is no digest of what was read",
                         [&] { later.restore(parse_json(R"({"a":[[0,1,"x"]]})", "journal")); });
  io::test::expect_error(ErrorKind::CorruptData, "offset, bytes and digest of what was read",
                         [&] { later.restore(parse_json(R"({"a":[[0]]})", "journal")); });
}

}  // namespace
}  // namespace swage::checkpoint
