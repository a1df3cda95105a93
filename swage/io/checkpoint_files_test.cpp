#include "swage/io/checkpoint_files.h"
#include "swage/io/declared_tensors.h"

#include <gtest/gtest.h>

#include "swage/io/safetensors.h"
#include "swage/io/shard_index.h"
#include "swage/io/test_files.h"

namespace swage::io {
namespace {

using test::expect_error;
using test::TempFolder;

// A valid file whose tensors are single bytes: the first letters of their names.
std::string letters(const std::vector<std::string>& names) {
  std::vector<TensorSpec> specs;
  std::string data;
  for (const std::string& name : names) {
    specs.push_back({name, Dtype::U8, {1}});
    data += name[0];
  }
  return safetensors_header(specs) + data;
}

std::string index_of(const std::vector<std::pair<std::string, std::string>>& weight_map) {
  return shard_index_text({weight_map}, 3);
}

constexpr const char* kFirst = "model-00001-of-00002.safetensors";
constexpr const char* kSecond = "model-00002-of-00002.safetensors";

void expect_open_fails(const TempFolder& folder, ErrorKind kind, std::string_view words) {
  expect_error(kind, words, [&] { CheckpointFiles{folder.path()}; });
  expect_error(kind, folder.path().string(), [&] { CheckpointFiles{folder.path()}; });
}

TEST(CheckpointFiles, ReadsASingleFile) {
  const TempFolder folder;
  folder.write("model.safetensors", letters({"b", "c", "a"}));
  const CheckpointFiles files(folder.path());
  ASSERT_EQ(files.tensors().size(), 3u);
  for (const char* name : {"a", "b", "c"}) {
    files.prefetch(name, 0, files.bytes(name).size());
    EXPECT_EQ(files.bytes(name), name);
    files.drop(name);
    EXPECT_EQ(files.bytes(name), name);
    EXPECT_EQ(files.file_of(name), folder / "model.safetensors");
  }
  EXPECT_EQ(files.tensors()[0].name, "a");
  EXPECT_EQ(files.find("d"), nullptr);
  EXPECT_EQ(files.tensor_bytes(), 3u);
  expect_error(ErrorKind::CorruptData, " is not in the checkpoint", [&] { files.bytes("d"); });
}

TEST(DeclaredTensors, HaveNamesTypesAndShapesButNoData) {
  DeclaredTensors declared("somewhere", {{"b", Dtype::F32, {2, 3}}, {"a", Dtype::BF16, {4}}});
  EXPECT_EQ(declared.tensors()[0].name, "a");
  EXPECT_EQ(declared.find("b")->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(declared.tensor_bytes(), 8u + 24u);
  expect_error(ErrorKind::Internal, "there is a config only", [&] { declared.bytes("a"); });
  declared.hide("b");
  EXPECT_EQ(declared.find("b"), nullptr);
  expect_error(ErrorKind::CorruptData, "\"b\" is not in the checkpoint", [&] { declared.bytes("b"); });
}

TEST(CheckpointFiles, ReadsShards) {
  const TempFolder folder;
  folder.write(kFirst, letters({"c", "b"}));
  folder.write(kSecond, letters({"a"}));
  folder.write("model.safetensors.index.json", index_of({{"c", kFirst}, {"a", kSecond}, {"b", kFirst}}));
  const CheckpointFiles files(folder.path());
  EXPECT_EQ(files.file_count(), 2u);
  for (const char* name : {"a", "b", "c"}) EXPECT_EQ(files.bytes(name), name);
  EXPECT_EQ(files.file_of("a"), folder / kSecond);
  EXPECT_EQ(files.position_of("c").first, files.position_of("b").first);
  EXPECT_EQ(files.position_of("c").second + 1, files.position_of("b").second);
  EXPECT_LT(files.position_of("b"), files.position_of("a"));
  char letter = 0;
  files.read_at("b", 0, &letter, 1);
  EXPECT_EQ(letter, 'b');
  expect_error(ErrorKind::Internal, "reading 1 bytes at 1 of tensor \"b\", which has 1",
               [&] { files.read_at("b", 1, &letter, 1); });
}

TEST(CheckpointFiles, RefusesAnIndexThatDisagreesWithTheShards) {
  const TempFolder folder;
  folder.write(kFirst, letters({"b"}));
  const auto try_index = [&](std::vector<std::pair<std::string, std::string>> map, ErrorKind kind,
                             std::string_view words) {
    folder.write("model.safetensors.index.json", index_of(map));
    expect_open_fails(folder, kind, words);
  };
  try_index({{"b", kFirst}, {"a", kSecond}}, ErrorKind::Io, "model-00002-of-00002.safetensors: the shard is missing");
  folder.write(kSecond, letters({"a"}));
  try_index({{"b", kFirst}, {"a", kSecond}, {"z", kSecond}}, ErrorKind::CorruptData, " is not in shard ");
  folder.write(kSecond, letters({"a", "extra"}));
  try_index({{"b", kFirst}, {"a", kSecond}}, ErrorKind::CorruptData, " is not in the index");
  folder.write(kSecond, letters({"a", "b"}));
  try_index({{"b", kFirst}, {"a", kSecond}}, ErrorKind::CorruptData, ", the index places it in ");
  folder.write(kSecond, "short");
  try_index({{"b", kFirst}, {"a", kSecond}}, ErrorKind::CorruptData, kSecond);
}

TEST(CheckpointFiles, SaysWhatIsThereInstead) {
  const TempFolder folder;
  expect_open_fails(folder, ErrorKind::Io, "no weights");
  folder.write("pytorch_model.bin", "PK");
  expect_open_fails(folder, ErrorKind::Unsupported, "only a pickle checkpoint (pytorch_model.bin)");
  folder.write(kFirst, "");
  expect_open_fails(folder, ErrorKind::Io, "the index is missing");
  expect_error(ErrorKind::Io, "no such folder", [&] { CheckpointFiles(folder / "absent"); });
  expect_error(ErrorKind::Io, "not a folder", [&] { CheckpointFiles(folder / "pytorch_model.bin"); });
  folder.write("weights.gguf", "GGUF");
  expect_error(ErrorKind::Unsupported, "is GGUF", [&] { CheckpointFiles(folder / "weights.gguf"); });
  std::filesystem::create_symlink("nowhere", folder / "model.safetensors");
  expect_open_fails(folder, ErrorKind::Io, "cannot open: No such file");
}

TEST(CheckpointFiles, TakesSafetensorsWherePicklesLieBeside) {
  const TempFolder folder;
  folder.write("consolidated.pth", "PK");
  folder.write("model.safetensors", letters({"a"}));
  EXPECT_EQ(CheckpointFiles(folder.path()).bytes("a"), "a");
}

TEST(CheckpointFiles, SeesThatAFileShrank) {
  const TempFolder folder;
  folder.write("model.safetensors", letters({"a", "b"}));
  const CheckpointFiles files(folder.path());
  std::filesystem::resize_file(folder / "model.safetensors", 20);
  expect_error(ErrorKind::Io, "shrank", [&] { files.bytes("b"); });
}

void expect_bad_index(std::string_view words, std::string_view text) {
  expect_error(ErrorKind::CorruptData, words, [&] { parse_shard_index(text, "i.json"); });
  expect_error(ErrorKind::CorruptData, "i.json", [&] { parse_shard_index(text, "i.json"); });
}

TEST(ShardIndex, RefusesWhatIsNotAnIndex) {
  expect_bad_index("not valid JSON", "");
  expect_bad_index("expected an object", "[]");
  expect_bad_index("\"weight_map\" is missing", "{}");
  expect_bad_index("expected an object", R"({"weight_map":7})");
  expect_bad_index("weight_map is empty", R"({"weight_map":{}})");
  expect_bad_index(" is not a string", R"({"weight_map":{"a":7}})");
  expect_bad_index("the index holds a zero byte", std::string_view("{}\0", 3));
}

// As Python's json reads it, which transformers uses: metadata is not looked at, of a doubled key the last value
// counts.
TEST(ShardIndex, ReadsWhatPythonWrites) {
  const ShardIndex index = parse_shard_index(
      R"({"metadata":{"total_size":1000000000000000019884624838656,"x":[NaN,-Infinity]},"weight_map":{"a":"x.safetensors","b":"y.safetensors","a":"z.safetensors"}})",
      "i");
  const std::vector<std::pair<std::string, std::string>> wanted{{"a", "z.safetensors"}, {"b", "y.safetensors"}};
  EXPECT_EQ(index.weight_map, wanted);
}

TEST(ShardIndex, RefusesNamesThatLeaveTheFolder) {
  for (const char* shard : {"../x.safetensors", "/etc/x.safetensors", "a/x.safetensors", "..", "", ".safetensors",
                            "x.bin", "a\\\\x.safetensors", "a\\u0000.safetensors"}) {
    expect_bad_index("expected the name of a .safetensors file", cat(R"({"weight_map":{"a":")", shard, "\"}}"));
  }
}

TEST(ShardIndex, IsWrittenAsTransformersDoes) {
  EXPECT_EQ(index_of({{"b", "x"}, {"a", "y"}}),
            "{\n  \"metadata\": {\n    \"total_size\": 3\n  },\n  \"weight_map\": {\n    \"a\": \"y\",\n    \"b\": "
            "\"x\"\n  }\n}\n");
  EXPECT_EQ(shard_name(2, 13), "model-00002-of-00013.safetensors");
  EXPECT_EQ(shard_name(1, 1), "model.safetensors");
}

TEST(ShardIndex, SurvivesTheFuzzCorpus) {
  size_t files = 0, read = 0;
  for (const auto& file : std::filesystem::directory_iterator(SWAGE_TEST_DATA "/../../fuzz/corpus/shard_index")) {
    ++files;
    try {
      parse_shard_index(test::contents_of(file.path()), "corpus");
      ++read;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::CorruptData) << file.path() << ": " << e.what();
    }
  }
  EXPECT_GT(read, 0u);
  EXPECT_GT(files, read);
}

}  // namespace
}  // namespace swage::io
