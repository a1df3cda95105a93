#include "swage/resolve/source.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <functional>

#include "swage/io/test_files.h"

namespace swage::pipeline {
namespace {

namespace fs = std::filesystem;
using io::test::expect_error;
using io::test::safetensors_bytes;
using io::test::TempFolder;

constexpr const char* kHeader = R"({"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})";

// A folder with a config, a weight and a side file.
void make_source(const TempFolder& folder) {
  folder.write("model.safetensors", safetensors_bytes(kHeader, "xy"));
  folder.write("config.json", "{}");
  folder.write("LICENSE", "free");
}

// Writes in place and puts the time back.
void change_unseen(const fs::path& path, const std::string& bytes) {
  const auto time = fs::last_write_time(path);
  std::fstream(path, std::ios::in | std::ios::out | std::ios::binary)
      .write(bytes.data(), std::streamsize(bytes.size()));
  fs::last_write_time(path, time);
}

TEST(Source, IsKnownByWhatTheWeightsDependOn) {
  const TempFolder folder;
  make_source(folder);
  const Json first = Source(folder.path()).identity();
  folder.write("LICENSE", "other");
  folder.write("notes.txt", "new");
  fs::last_write_time(folder / "config.json", fs::last_write_time(folder / "config.json") + std::chrono::hours(1));
  EXPECT_EQ(Source(folder.path()).identity(), first);
  folder.write("config.json", "{\"a\":1}");
  EXPECT_NE(Source(folder.path()).identity().at("config.json"), first.at("config.json"));
  EXPECT_EQ(Source(folder.path()).identity().at("model.safetensors"), first.at("model.safetensors"));
  folder.write("config.json", "{}");
  std::string other = kHeader;
  other[2] = 'v';
  folder.write("model.safetensors", safetensors_bytes(other, "xy"));
  EXPECT_NE(Source(folder.path()).identity().at("model.safetensors"), first.at("model.safetensors"));
  expect_error(ErrorKind::Io, "no such folder", [&] { Source(folder / "none"); });
}

TEST(Source, IsNamedHoweverItsPathIsWritten) {
  const TempFolder folder;
  fs::create_directories(folder / "model");
  folder.write("model/model.safetensors", safetensors_bytes(kHeader, "xy"));
  folder.write("model/config.json", "{}");
  for (const char* spelled : {"model", "model/", "model/.", "./model//"})
    EXPECT_EQ(Source(folder / spelled).name(), "model") << spelled;
}

TEST(Source, WhatIsNotReadMayChange) {
  const TempFolder folder;
  make_source(folder);
  const Source source(folder.path());
  source.reader().read("w");
  folder.write("notes.txt", "new");
  folder.write("stray.safetensors", "x");
  fs::create_hard_link(folder / "model.safetensors", folder / "backup");  // changes the file's status, not its bytes
  EXPECT_NO_THROW(source.check_unchanged());
}

TEST(Source, ChangesAreNamed) {
  const auto changed = [](ErrorKind kind, std::string_view words,
                          const std::function<void(const TempFolder&)>& change) {
    const TempFolder folder;
    make_source(folder);
    const Source source(folder.path());
    source.reader().read("w");
    EXPECT_NO_THROW(source.check_unchanged());
    change(folder);
    expect_error(kind, words, [&] { source.check_unchanged(); });
    expect_error(kind, "the source changed while it was read: ", [&] { source.check_unchanged(); });
  };
  changed(ErrorKind::CorruptData, ": config.json;", [](const TempFolder& f) { f.write("config.json", "[]"); });
  changed(ErrorKind::CorruptData, ": config.json (is gone)",
          [](const TempFolder& f) { fs::remove(f / "config.json"); });
  changed(ErrorKind::CorruptData, ": model.safetensors (is gone)",
          [](const TempFolder& f) { fs::remove(f / "model.safetensors"); });
  changed(ErrorKind::Io, ": model.safetensors, which was written to", [](const TempFolder& f) {
    fs::last_write_time(f / "model.safetensors", fs::file_time_type::clock::now() + std::chrono::hours(1));
  });
  changed(ErrorKind::CorruptData, ": model.safetensors: tensor \"w\"",
          [](const TempFolder& f) { change_unseen(f / "model.safetensors", safetensors_bytes(kHeader, "xz")); });
  changed(ErrorKind::Io, ": LICENSE", [](const TempFolder& f) { f.write("LICENSE", "x"); });
  changed(ErrorKind::Io, ": LICENSE (is gone)", [](const TempFolder& f) { fs::remove(f / "LICENSE"); });
}

}  // namespace
}  // namespace swage::pipeline
