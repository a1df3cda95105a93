#include "swage/io/side_files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "swage/io/test_files.h"

namespace swage::io {
namespace {

namespace fs = std::filesystem;
using test::TempFolder;

std::vector<std::string> names(const SideFiles& found) {
  std::vector<std::string> out;
  for (const fs::path& file : found.files) out.push_back(file.filename().string());
  return out;
}

bool says(const SideFiles& found, std::string_view name, std::string_view words) {
  for (const std::string& text : found.left_out) {
    if (text.starts_with(name) && text.find(words) != std::string::npos) return true;
  }
  return false;
}

TEST(SideFiles, AreWhatGoesWithAModel) {
  const TempFolder folder;
  for (const char* name : {"tokenizer.json",
                           "LICENSE",
                           "modeling_x.py",
                           "tokenizer.model",
                           "chat_template.jinja",
                           "config.json",
                           "model.safetensors",
                           "model.safetensors.index.json",
                           "stray.safetensors",
                           "pytorch_model.bin",
                           "quantize_config.json",
                           "quant_config.json",
                           "hf_quant_config.json",
                           "quantization_config.json",
                           "qconfig.json",
                           "quanto_qmap.json",
                           "kv_cache_scales.json",
                           "tf_model.h5.index.json",
                           "swage_report.json",
                           "recipe.yaml",
                           ".gitattributes",
                           ".nfs0001",
                           "original/consolidated.pth"}) {
    folder.write(name, "x");
  }
  const SideFiles found = side_files(folder.path());
  EXPECT_EQ(names(found), (std::vector<std::string>{"LICENSE", "chat_template.jinja", "modeling_x.py", "tokenizer.json",
                                                    "tokenizer.model"}));
  EXPECT_TRUE(found.left_out.empty());
  test::expect_error(ErrorKind::Io, "cannot list the folder", [&] { side_files(folder / "none"); });
}

TEST(SideFiles, LinksOutOfTheFolderAreLeftOutAndNamed) {
  const TempFolder root;
  root.write("private/key.txt", "SECRET");
  root.write("m/real.txt", "x");
  root.write("m/sub/inner.txt", "x");
  const fs::path folder = root / "m";
  fs::create_symlink("real.txt", folder / "same.txt");
  fs::create_symlink("sub/inner.txt", folder / "inner.txt");
  fs::create_symlink(root / "private/key.txt", folder / "NOTES.md");
  fs::create_symlink("../private/key.txt", folder / "relative.md");
  fs::create_symlink("NOTES.md", folder / "twice.md");
  fs::create_directory_symlink("../private", folder / "door");
  fs::create_symlink("door/key.txt", folder / "through.md");
  fs::create_symlink("../m2.txt", folder / "prefix.md");  // a name that begins as the folder's does
  root.write("m2.txt", "x");
  const SideFiles found = side_files(folder);
  EXPECT_EQ(names(found), (std::vector<std::string>{"inner.txt", "real.txt", "same.txt"}));
  for (const char* name : {"NOTES.md", "relative.md", "twice.md", "through.md", "prefix.md"})
    EXPECT_TRUE(says(found, name, "no part of the model's folder")) << name;
  EXPECT_EQ(found.left_out.size(), 5u);
  EXPECT_EQ(names(side_files(root / "m/")), names(found));
  fs::create_directory_symlink("m", root / "linked");
  EXPECT_EQ(names(side_files(root / "linked")), names(found));  // the folder itself may be a link
}

TEST(SideFiles, WhatIsNoRegularFileIsNeverTouched) {
  const TempFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe.txt").c_str(), 0600), 0);
  fs::create_symlink("/dev/zero", folder / "zero.txt");
  fs::create_symlink("nowhere", folder / "dangling.txt");
  fs::create_symlink("loop.txt", folder / "loop.txt");
  fs::resize_file(folder.write("huge.txt", ""), uint64_t{1} << 40);
  const SideFiles found = side_files(folder.path());
  EXPECT_TRUE(found.files.empty());
  EXPECT_TRUE(says(found, "pipe.txt", "is a pipe"));
  EXPECT_TRUE(says(found, "zero.txt", "is a device"));
  EXPECT_TRUE(says(found, "dangling.txt", "is a link that leads nowhere"));
  EXPECT_TRUE(says(found, "loop.txt", "is a link that leads nowhere"));
  EXPECT_TRUE(says(found, "huge.txt", "has 1099511627776 bytes"));
}

TEST(SideFiles, TheHubsCacheIsPartOfItsModel) {
  const TempFolder root;
  root.write("models--a--b/blobs/1", "x");
  root.write("models--a--c/blobs/1", "SECRET");
  fs::create_directories(root / "models--a--b/snapshots/r");
  const fs::path folder = root / "models--a--b/snapshots/r";
  fs::create_symlink("../../blobs/1", folder / "LICENSE");
  fs::create_symlink("../../../models--a--c/blobs/1", folder / "other.txt");
  fs::create_symlink("../../refs", folder / "refs.txt");
  const SideFiles found = side_files(folder);
  EXPECT_EQ(names(found), (std::vector<std::string>{"LICENSE"}));
  EXPECT_TRUE(says(found, "other.txt", "no part of the model's folder"));
  // A folder that is only laid out like one: its blobs lead elsewhere.
  fs::create_directories(root / "x/snapshots/r");
  fs::create_directory_symlink("../models--a--c/blobs", root / "x/blobs");
  fs::create_symlink("../../blobs/1", root / "x/snapshots/r/LICENSE");
  EXPECT_TRUE(side_files(root / "x/snapshots/r").files.empty());
}

TEST(SideFiles, AConfigFromElsewhereIsRefused) {
  const TempFolder root;
  root.write("private.json", "{}");
  root.write("m/real.json", "{}");
  fs::create_symlink("../private.json", root / "m/config.json");
  fs::create_symlink("real.json", root / "m/quantize_config.json");
  test::expect_error(ErrorKind::Io, "no part of the model's folder",
                     [&] { check_belongs_to_folder(root / "m", root / "m/config.json"); });
  EXPECT_NO_THROW(check_belongs_to_folder(root / "m", root / "m/quantize_config.json"));
  EXPECT_NO_THROW(check_belongs_to_folder(root / "m", root / "m/none.json"));
}

}  // namespace
}  // namespace swage::io
