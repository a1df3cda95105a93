#include "swage/io/safetensors.h"

#include <gtest/gtest.h>

#include <iostream>

#include "swage/io/mmap_file.h"
#include "swage/io/test_files.h"

namespace swage::io {
namespace {

using test::safetensors_bytes;

struct Broken {
  const char* words;  // of the error
  std::string file;
};

// One tensor "w" with this entry, and 8 bytes of data.
std::string entry(std::string_view json) { return safetensors_bytes(cat("{\"w\":", json, "}"), "01234567"); }

std::string raw_length(uint64_t length, std::string_view rest) {
  std::string file = safetensors_bytes("", rest);
  for (int i = 0; i < 8; ++i) file[size_t(i)] = char(uint8_t(length >> (8 * i)));
  return file;
}

void expect_broken(const Broken& broken) {
  SCOPED_TRACE(broken.words);
  test::expect_error(ErrorKind::CorruptData, "bad.safetensors",
                     [&] { parse_safetensors_header(broken.file, "bad.safetensors"); });
  test::expect_error(ErrorKind::CorruptData, broken.words,
                     [&] { parse_safetensors_header(broken.file, "bad.safetensors"); });
}

TEST(Safetensors, RefusesABrokenFrame) {
  expect_broken({"a safetensors file has at least ", ""});
  expect_broken({"a safetensors file has at least ", "1234567"});
  expect_broken({"more than the format's limit", raw_length(100'000'001, "{}")});
  expect_broken({"more than the format's limit", raw_length(~uint64_t{0}, "{}")});
  expect_broken({"bytes, the file has only ", raw_length(100'000'000, "{}")});
  expect_broken({"bytes, the file has only ", raw_length(3, "{}")});
  expect_broken({"does not start with '{'", raw_length(0, "")});
  expect_broken({"does not start with '{'", safetensors_bytes(" {}", "")});
  expect_broken({"does not start with '{'", safetensors_bytes("[]", "")});
  expect_broken({"not valid JSON", safetensors_bytes("{", "")});
  expect_broken({"not valid JSON", safetensors_bytes("{} x", "")});
  expect_broken({"the header holds a zero byte", safetensors_bytes(std::string_view("{}\0", 3), "")});
  expect_broken({"the header holds a zero byte", safetensors_bytes(std::string_view("{}\0{\"w\":1}", 10), "")});
  expect_broken({"not valid JSON", safetensors_bytes("{\"\xff\":1}", "")});
  expect_broken({"JSON values, expected less", safetensors_bytes("{" + std::string(2'000'000, ','), "")});
  expect_broken({"nested deeper", safetensors_bytes("{\"w\":{\"shape\":[[]]}}", "")});
}

TEST(Safetensors, RefusesBrokenEntries) {
  expect_broken({"appears twice", safetensors_bytes(R"({"w":{},"w":{}})", "")});
  expect_broken({"appears twice", entry(R"({"dtype":"U8","dtype":"U8","shape":[8],"data_offsets":[0,8]})")});
  expect_broken({"expected an object", entry("7")});
  expect_broken({"unknown field \"x\"", entry(R"({"dtype":"U8","shape":[8],"data_offsets":[0,8],"x":1})")});
  expect_broken({"\"dtype\" is missing", entry(R"({"shape":[8],"data_offsets":[0,8]})")});
  expect_broken({"\"shape\" is missing", entry(R"({"dtype":"U8","data_offsets":[0,8]})")});
  expect_broken({"\"data_offsets\" is missing", entry(R"({"dtype":"U8","shape":[8]})")});
  expect_broken({"unknown dtype \"u8\"", entry(R"({"dtype":"u8","shape":[8],"data_offsets":[0,8]})")});
  expect_broken({"expected a string", entry(R"({"dtype":8,"shape":[8],"data_offsets":[0,8]})")});
  expect_broken({"expected an array", entry(R"({"dtype":"U8","shape":8,"data_offsets":[0,8]})")});
  expect_broken({"expected a size, found ", entry(R"({"dtype":"U8","shape":[-8],"data_offsets":[0,8]})")});
  expect_broken({"expected an integer", entry(R"({"dtype":"U8","shape":[8.0],"data_offsets":[0,8]})")});
  expect_broken(
      {"does not fit in 64 bits", entry(R"({"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,8]})")});
  expect_broken(
      {"does not fit in 64 bits", entry(R"({"dtype":"U8","shape":[8],"data_offsets":[0,18446744073709551615]})")});
}

TEST(Safetensors, RefusesShapesAndRangesThatDisagree) {
  expect_broken({"overflows 64 bits", entry(R"({"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,8]})")});
  expect_broken(
      {"overflows 64 bits", entry(R"({"dtype":"U8","shape":[0,4294967296,4294967296],"data_offsets":[0,0]})")});
  expect_broken({"does not fill whole bytes", entry(R"({"dtype":"F4","shape":[3],"data_offsets":[0,2]})")});
  expect_broken({"does not fill whole bytes", entry(R"({"dtype":"F6_E2M3","shape":[2],"data_offsets":[0,2]})")});
  expect_broken({"numbers, expected 2", entry(R"({"dtype":"U8","shape":[8],"data_offsets":[0,8,8]})")});
  expect_broken({"end before they begin", entry(R"({"dtype":"U8","shape":[8],"data_offsets":[8,0]})")});
  expect_broken({"bytes of data: the file is truncated", entry(R"({"dtype":"U8","shape":[9],"data_offsets":[0,9]})")});
  expect_broken({"] span ", entry(R"({"dtype":"U8","shape":[7],"data_offsets":[0,8]})")});
}

std::string two(std::string_view a, std::string_view b, std::string_view data) {
  const auto one = [](std::string_view name, std::string_view rest) {
    return cat("\"", name, "\":{\"dtype\":\"U8\",", rest, "}");
  };
  return safetensors_bytes(cat("{", one("a", a), ",", one("b", b), "}"), data);
}

TEST(Safetensors, RefusesOverlapsAndHoles) {
  const char* first = R"("shape":[4],"data_offsets":[0,4])";
  expect_broken({"overlaps the one before it", two(first, R"("shape":[4],"data_offsets":[3,7])", "1234567")});
  expect_broken({"overlaps the one before it", two(first, R"("shape":[0],"data_offsets":[2,2])", "1234")});
  expect_broken({"overlaps the one before it", two(first, first, "1234")});
  expect_broken({" bytes before tensor ", two(first, R"("shape":[3],"data_offsets":[5,8])", "12345678")});
  expect_broken({" bytes before tensor ",
                 two(R"("shape":[3],"data_offsets":[1,4])", R"("shape":[3],"data_offsets":[4,7])", "1234567")});
  expect_broken({" bytes after the last tensor", two(first, R"("shape":[4],"data_offsets":[4,8])", "123456789")});
  expect_broken({" bytes after the last tensor", safetensors_bytes("{}", "x")});
}

TEST(Safetensors, RefusesBrokenMetadata) {
  expect_broken({"expected an object", safetensors_bytes(R"({"__metadata__":"pt"})", "")});
  expect_broken({": expected a string", safetensors_bytes(R"({"__metadata__":{"format":1}})", "")});
  expect_broken({"appears twice", safetensors_bytes(R"({"__metadata__":{},"__metadata__":{}})", "")});
}

// As in the reference implementation, whose map takes the last one.
TEST(Safetensors, OfDoubledMetadataTheLastCounts) {
  const std::string file = safetensors_bytes(R"({"__metadata__":{"format":"tf","x":"","format":"pt"}})", "");
  EXPECT_EQ(parse_safetensors_header(file, "x").metadata, (SafetensorsMetadata{{"format", "pt"}, {"x", ""}}));
}

TEST(Safetensors, ReadsTensorsInTheOrderOfTheirDataWithPadding) {
  const std::string json =
      R"({"b":{"dtype":"F4","shape":[2,3],"data_offsets":[4,7]},"__metadata__":{"format":"pt"},)"
      R"("e":{"dtype":"I64","shape":[0],"data_offsets":[4,4]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}   )";
  const std::string file = safetensors_bytes(json, "1234567");
  const SafetensorsHeader header = parse_safetensors_header(file, "x");
  EXPECT_EQ(header.bytes, 8 + json.size());
  ASSERT_EQ(header.tensors.size(), 3u);
  EXPECT_EQ(header.tensors[0].spec, (TensorSpec{"a", Dtype::F32, {}}));
  EXPECT_EQ(header.tensors[1].spec, (TensorSpec{"e", Dtype::I64, {0}}));
  EXPECT_EQ(header.tensors[2].spec, (TensorSpec{"b", Dtype::F4, {2, 3}}));
  EXPECT_EQ(file.substr(header.tensors[2].offset, header.tensors[2].bytes), "567");
  EXPECT_EQ(header.metadata, (SafetensorsMetadata{{"format", "pt"}}));
}

TEST(Safetensors, AnEmptyFileOfTensorsIsValid) {
  EXPECT_TRUE(parse_safetensors_header(safetensors_bytes("{}", ""), "x").tensors.empty());
}

TEST(Safetensors, WrittenHeadersReadBackAligned) {
  std::vector<TensorSpec> specs;
  for (int type = 0; type <= int(Dtype::U64); ++type) {
    specs.push_back({cat("t\"\xc3\xa9\n", type), Dtype(type), {int64_t{type}, 8}});
    const std::string head = safetensors_header(specs);
    EXPECT_EQ(head.size() % 8, 0u);
    uint64_t bytes = 0;
    for (const TensorSpec& spec : specs) bytes += data_bytes(spec);
    const std::string file = head + std::string(bytes, 'x');
    const SafetensorsHeader header = parse_safetensors_header(file, "x");
    EXPECT_EQ(header.bytes, head.size());
    ASSERT_EQ(header.tensors.size(), specs.size());
    for (size_t i = 0; i < specs.size(); ++i) EXPECT_EQ(header.tensors[i].spec, specs[i]);
  }
  EXPECT_EQ(safetensors_header({{"w", Dtype::BF16, {2, 3}}}).substr(8),
            R"({"__metadata__":{"format":"pt"},"w":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}})" +
                std::string(7, ' '));
}

TEST(Safetensors, RefusesToWriteWhatNobodyCouldRead) {
  const TensorSpec w{"w", Dtype::U8, {1}};
  test::expect_error(ErrorKind::InvalidArgument, "reserved or given twice", [&] { safetensors_header({w, w}); });
  test::expect_error(ErrorKind::InvalidArgument, "reserved or given twice",
                     [] { safetensors_header({{"__metadata__", Dtype::U8, {1}}}); });
  test::expect_error(ErrorKind::CorruptData, "negative dimension",
                     [] { safetensors_header({{"w", Dtype::U8, {-1}}}); });
}

// What fuzzing kept, and the seeds it began with: none may do worse than throw.
TEST(Safetensors, SurvivesTheFuzzCorpus) {
  size_t files = 0, read = 0;
  for (const auto& file : std::filesystem::directory_iterator(SWAGE_TEST_DATA "/../../fuzz/corpus/safetensors")) {
    ++files;
    try {
      parse_safetensors_header(test::contents_of(file.path()), "corpus");
      ++read;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::CorruptData) << file.path() << ": " << e.what();
    }
  }
  EXPECT_GT(read, 0u);
  EXPECT_GT(files, read);
}

// Files that other programs wrote.
TEST(Safetensors, ReadsForeignFiles) {
  const bool full = std::filesystem::is_directory(SWAGE_FULL_DATA "/parity");
  std::cout << "foreign files: " << (full ? "the full set" : "the small selection") << "\n";
  size_t files = 0;
  for (const auto& file :
       std::filesystem::recursive_directory_iterator(full ? SWAGE_FULL_DATA "/parity" : SWAGE_TEST_DATA "/io")) {
    if (file.path().extension() != ".safetensors") continue;
    ++files;
    const MmapFile map(file.path());
    EXPECT_GT(parse_safetensors_header(map.bytes(), file.path().string()).tensors.size(), 0u);
  }
  EXPECT_GT(files, 0u);
}

}  // namespace
}  // namespace swage::io
