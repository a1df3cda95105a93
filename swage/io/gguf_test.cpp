#include "swage/io/gguf.h"

#include <gtest/gtest.h>

#include <cstring>

#include "swage/io/gguf_test_support.h"
#include "swage/io/test_files.h"

namespace swage::io {
namespace {

using test::expect_error;
using test::TempFolder;

using test::raw;
using Parts = test::GgufParts;

std::string text(std::string_view value) { return Parts::text(value); }
std::string u32_key(std::string_view name, uint32_t value) { return Parts::u32(name, value); }
std::string tensor(std::string_view name, std::vector<uint64_t> inner_first, uint32_t type, uint64_t offset) {
  return Parts::tensor(name, inner_first, type, offset);
}

Parts small() {
  Parts out;
  out.keys = {u32_key("a.count", 7), Parts::words("words", {"one", "zwei"})};
  out.tensors = {tensor("x", {32, 2}, 2, 0), tensor("b", {3}, 0, 64)};
  out.data = std::string(64, 'q') + std::string(12, 'f');
  return out;
}

void expect_refused(ErrorKind kind, std::string_view words, const Parts& parts) {
  const std::string file = parts.file();
  expect_error(kind, words, [&] { parse_gguf(file, "some.gguf"); });
}

TEST(Gguf, ReadsKeysAndTensors) {
  const std::string file = small().file();
  const GgufHeader header = parse_gguf(file, "some.gguf");
  EXPECT_EQ(header.keys.dump(), R"({"a.count":7,"words":["one","zwei"]})");
  ASSERT_EQ(header.tensors.size(), 2u);
  EXPECT_EQ(header.tensors[0].shape, (std::vector<int64_t>{2, 32}));
  EXPECT_STREQ(header.tensors[0].type->name, "Q4_0");
  EXPECT_EQ(file.substr(header.tensors[1].offset, header.tensors[1].bytes), std::string(12, 'f'));
}

TEST(Gguf, RefusesWhatDoesNotFit) {
  const auto with = [](auto change) {
    Parts parts = small();
    change(parts);
    return parts;
  };
  expect_refused(ErrorKind::Unsupported, "of version 1, of the year 2023", with([](Parts& p) { p.version = 1; }));
  expect_refused(ErrorKind::Unsupported, "big endian", with([](Parts& p) { p.version = 3 << 24; }));
  expect_refused(ErrorKind::CorruptData, "\"a.count\" comes twice",
                 with([](Parts& p) { p.keys.push_back(u32_key("a.count", 1)); }));
  expect_refused(ErrorKind::CorruptData, "\"k\" has the unknown type 13",
                 with([](Parts& p) { p.keys.push_back(text("k") + raw(uint32_t{13})); }));
  expect_refused(ErrorKind::CorruptData, "claims 1000000 elements of an array", with([](Parts& p) {
                   p.keys.push_back(text("k") + raw(uint32_t{9}) + raw(uint32_t{4}) + raw(uint64_t{1'000'000}));
                 }));
  expect_refused(ErrorKind::CorruptData, "an array of arrays", with([](Parts& p) {
                   p.keys.push_back(text("k") + raw(uint32_t{9}) + raw(uint32_t{9}) + raw(uint64_t{1}));
                 }));
  expect_refused(ErrorKind::CorruptData, "is not UTF-8", with([](Parts& p) { p.keys.push_back(u32_key("\xff", 1)); }));
  expect_refused(ErrorKind::CorruptData, "rows of 33 elements, no multiple of the 32",
                 with([](Parts& p) { p.tensors[0] = tensor("x", {33, 2}, 2, 0); }));
  expect_refused(ErrorKind::CorruptData, "has a dimension of 0",
                 with([](Parts& p) { p.tensors[0] = tensor("x", {0, 2}, 2, 0); }));
  expect_refused(ErrorKind::CorruptData, "has a dimension of",
                 with([](Parts& p) { p.tensors[0] = tensor("x", {uint64_t{1} << 40, uint64_t{1} << 40}, 0, 0); }));
  expect_refused(ErrorKind::CorruptData, "has 5 dimensions, expected 1 to 4",
                 with([](Parts& p) { p.tensors[0] = tensor("x", {1, 1, 1, 1, 1}, 0, 0); }));
  expect_refused(ErrorKind::Unsupported, "has the type 9, which is not known",
                 with([](Parts& p) { p.tensors[0] = tensor("x", {32}, 9, 0); }));
  expect_refused(ErrorKind::CorruptData, "ends behind the file", with([](Parts& p) { p.data.pop_back(); }));
  expect_refused(ErrorKind::CorruptData, "lies at 36, no multiple of 32",
                 with([](Parts& p) { p.tensors[1] = tensor("b", {1}, 0, 36); }));
  expect_refused(ErrorKind::CorruptData, "overlap", with([](Parts& p) { p.tensors[1] = tensor("b", {3}, 0, 32); }));
  expect_refused(ErrorKind::CorruptData, "\"x\" comes twice",
                 with([](Parts& p) { p.tensors[1] = tensor("x", {3}, 0, 64); }));
  expect_refused(ErrorKind::CorruptData, "expected a power of two",
                 with([](Parts& p) { p.keys.push_back(u32_key("general.alignment", 24)); }));
  expect_refused(ErrorKind::CorruptData, "a key of 16777217 bytes, expected at most 16777216",
                 with([](Parts& p) { p.keys.push_back(raw(uint64_t{16'777'217})); }));
  const std::string many_tensors = "GGUF" + raw(uint32_t{3}) + raw(uint64_t{1} << 40) + raw(uint64_t{0});
  expect_error(ErrorKind::CorruptData, "1099511627776 tensors, expected at most 1048576",
               [&] { parse_gguf(many_tensors, "some.gguf"); });
  const std::string many_keys = "GGUF" + raw(uint32_t{3}) + raw(uint64_t{0}) + raw(uint64_t{1} << 40);
  expect_error(ErrorKind::CorruptData, "1099511627776 keys, expected at most 65536",
               [&] { parse_gguf(many_keys, "some.gguf"); });
  expect_error(ErrorKind::CorruptData, "does not begin with", [] { parse_gguf("GGML", "some.gguf"); });
}

TEST(Gguf, EveryBeginningOfAFileIsRefused) {
  const std::string file = small().file();
  for (size_t length = 0; length < file.size(); ++length) {
    const std::string_view cut = std::string_view(file).substr(0, length);
    EXPECT_THROW(parse_gguf(cut, "cut"), Error) << length;
  }
}

TEST(Gguf, ReadsAllFilesOfASplitOne) {
  const TempFolder folder;
  Parts first = small(), second = small();
  const auto split = [](Parts& parts, uint16_t number) {
    parts.keys.push_back(text("split.no") + raw(uint32_t{2}) + raw(number));
    parts.keys.push_back(text("split.count") + raw(uint32_t{2}) + raw(uint16_t{2}));
  };
  split(first, 0);
  split(second, 1);
  second.tensors = {tensor("a", {3}, 0, 64)};
  folder.write("m-00001-of-00002.gguf", first.file());
  expect_error(ErrorKind::Io, "is missing, one of 2", [&] { GgufFile{folder / "m-00001-of-00002.gguf"}; });
  folder.write("m-00002-of-00002.gguf", second.file());
  const GgufFile file(folder / "m-00001-of-00002.gguf");
  ASSERT_EQ(file.tensors().size(), 3u);
  EXPECT_EQ(file.bytes(*file.find("a")), std::string(12, 'f'));
  EXPECT_EQ(file.bytes(*file.find("x")), std::string(36, 'q'));
  EXPECT_EQ(file.find("y"), nullptr);
  expect_error(ErrorKind::InvalidArgument, "give the first", [&] { GgufFile{folder / "m-00002-of-00002.gguf"}; });
  second.tensors = {tensor("x", {3}, 0, 64)};
  folder.write("m-00002-of-00002.gguf", second.file());
  expect_error(ErrorKind::CorruptData, "\"x\" is in two files", [&] { GgufFile{folder / "m-00001-of-00002.gguf"}; });
}

}  // namespace
}  // namespace swage::io
