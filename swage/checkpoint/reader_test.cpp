#include "swage/checkpoint/reader.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <numeric>

#include "swage/io/safetensors.h"
#include "swage/io/test_files.h"

namespace swage::checkpoint {
namespace {

using io::test::contents_of;
using io::test::expect_error;
using io::test::TempFolder;

// Bytes 0, 1, 2, ... as a tensor [2, 3, 4]: what tests/data/io/every_dtype.safetensors holds.
at::Tensor counting(at::ScalarType type) {
  const int64_t bytes = 24 * int64_t(c10::elementSize(type));
  at::Tensor raw = at::arange(bytes, at::kInt).to(at::kByte);
  if (type == at::kBool) raw = raw.bitwise_and(1);
  return raw.view(type).view({2, 3, 4});
}

bool same_bytes(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() && a.nbytes() == b.nbytes() &&
         (a.nbytes() == 0 || std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0);
}

// A folder with that file as its model.
void every_dtype(const TempFolder& folder) {
  folder.write("model.safetensors", contents_of(SWAGE_TEST_DATA "/io/every_dtype.safetensors"));
}

TEST(Reader, ReadsEveryTypeThatTorchWrites) {
  const TempFolder folder;
  every_dtype(folder);
  const Reader reader(folder.path());
  const std::pair<const char*, at::ScalarType> types[] = {{"bool", at::kBool},
                                                          {"uint8", at::kByte},
                                                          {"int8", at::kChar},
                                                          {"int16", at::kShort},
                                                          {"uint16", at::kUInt16},
                                                          {"int32", at::kInt},
                                                          {"uint32", at::kUInt32},
                                                          {"int64", at::kLong},
                                                          {"uint64", at::kUInt64},
                                                          {"float16", at::kHalf},
                                                          {"bfloat16", at::kBFloat16},
                                                          {"float32", at::kFloat},
                                                          {"float64", at::kDouble},
                                                          {"complex64", at::kComplexFloat},
                                                          {"float8_e4m3fn", at::kFloat8_e4m3fn},
                                                          {"float8_e5m2", at::kFloat8_e5m2},
                                                          {"float8_e4m3fnuz", at::kFloat8_e4m3fnuz},
                                                          {"float8_e5m2fnuz", at::kFloat8_e5m2fnuz}};
  for (const auto& [name, type] : types) {
    EXPECT_TRUE(same_bytes(reader.read(name), counting(type))) << name;
    EXPECT_TRUE(same_bytes(reader.view(name), counting(type))) << name;
    EXPECT_EQ(dtype_of(type), reader.find(name)->dtype) << name;
    EXPECT_EQ(scalar_type_of(reader.find(name)->dtype), type) << name;
  }
  for (const char* name : {"float8_e8m0fnu", "float4_e2m1fn_x2"}) {
    if (reader.find(name) == nullptr) continue;
    EXPECT_TRUE(same_bytes(reader.read(name), counting(at::kByte))) << name;
  }
  EXPECT_EQ(reader.read("scalar").item<float>(), 1.5f);
  EXPECT_EQ(reader.view("empty").sizes(), (at::IntArrayRef{0, 7}));
  EXPECT_EQ(dtype_of(at::kFloat8_e8m0fnu), io::Dtype::F8E8M0);
  expect_error(ErrorKind::Unsupported, "no element type", [] { dtype_of(at::kComplexDouble); });
}

TEST(Reader, ViewsShareTheMapAndReadsDoNot) {
  const TempFolder folder;
  every_dtype(folder);
  const Reader reader(folder.path());
  EXPECT_EQ(reader.view("float32").const_data_ptr(), static_cast<const void*>(reader.bytes("float32").data()));
  EXPECT_NE(reader.read("float32").const_data_ptr(), static_cast<const void*>(reader.bytes("float32").data()));
  reader.prefetch("float32");
  const at::Tensor view = reader.view("float32");
  reader.drop("float32");
  EXPECT_TRUE(same_bytes(view, counting(at::kFloat)));
}

TEST(Reader, CopiesWhatLiesOffItsAlignment) {
  const TempFolder folder;
  const std::vector<io::TensorSpec> specs{{"a", io::Dtype::U8, {1}}, {"b", io::Dtype::F32, {1}}};
  const float value = 2.5f;
  std::string data = "x";
  data.append(reinterpret_cast<const char*>(&value), 4);
  folder.write("model.safetensors", io::safetensors_header(specs) + data);
  EXPECT_EQ(Reader(folder.path()).view("b").item<float>(), 2.5f);
}

TEST(Reader, SubByteTypesComeAsBytes) {
  const TempFolder folder;
  const std::vector<io::TensorSpec> specs{
      {"four", io::Dtype::F4, {2, 6}}, {"six", io::Dtype::F6E2M3, {1, 4}}, {"odd", io::Dtype::F4, {2, 1}}};
  folder.write("model.safetensors", io::safetensors_header(specs) + "1234567890");
  const Reader reader(folder.path());
  EXPECT_EQ(reader.read("four").sizes(), (at::IntArrayRef{2, 3}));
  EXPECT_EQ(reader.view("six").sizes(), (at::IntArrayRef{1, 3}));
  EXPECT_EQ(reader.view("six").scalar_type(), at::kByte);
  expect_error(ErrorKind::Unsupported, "do not fill whole bytes", [&] { reader.read("odd"); });
}

TEST(Reader, ReadsTheConfig) {
  const TempFolder folder;
  every_dtype(folder);
  expect_error(ErrorKind::Io, "config.json: no such file", [&] { Reader(folder.path()).config(); });
  folder.write("config.json", R"({"model_type": "llama"})");
  EXPECT_EQ(Reader(folder.path()).config().get_string("model_type", ""), "llama");
}

TEST(Reader, RefusesABrokenConfig) {
  const TempFolder folder;
  every_dtype(folder);
  const auto expect_broken = [&](std::string_view words, std::string_view text) {
    folder.write("config.json", text);
    expect_error(ErrorKind::CorruptData, words, [&] { Reader reader(folder.path()); });
  };
  expect_broken("config.json: not valid JSON", "{");
  expect_broken("expected a JSON object", "[1]");
}

TEST(Reader, NamesAnAbsentTensorAndFolder) {
  const TempFolder folder;
  every_dtype(folder);
  expect_error(ErrorKind::CorruptData, "tensor \"w\" is not in the checkpoint",
               [&] { Reader(folder.path()).read("w"); });
  expect_error(ErrorKind::Io, "no such folder", [&] { Reader reader(folder / "absent"); });
}

TEST(Reader, MovesWithItsViews) {
  const TempFolder folder;
  every_dtype(folder);
  Reader first(folder.path());
  const at::Tensor view = first.view("int64");
  const Reader second(std::move(first));
  EXPECT_TRUE(same_bytes(view, second.read("int64")));
}

}  // namespace
}  // namespace swage::checkpoint
