#include "swage/io/dtype.h"

#include <gtest/gtest.h>

#include "swage/io/tensor_spec.h"
#include "swage/io/test_files.h"

namespace swage::io {
namespace {

TEST(Dtype, NamesRoundTrip) {
  for (int i = 0; i <= int(Dtype::U64); ++i) EXPECT_EQ(dtype_named(name_of(Dtype(i))), Dtype(i));
  EXPECT_EQ(dtype_named("F128"), std::nullopt);
  EXPECT_EQ(dtype_named(""), std::nullopt);
}

TEST(Dtype, BitsFollowTheNames) {
  for (int i = 0; i <= int(Dtype::U64); ++i) {
    const std::string name(name_of(Dtype(i)));
    const size_t digit = name.find_first_of("0123456789");
    EXPECT_EQ(bits_of(Dtype(i)), digit == std::string::npos ? 8 : std::stoi(name.substr(digit))) << name;
  }
}

TEST(TensorSpec, CountsBytes) {
  EXPECT_EQ(data_bytes({"w", Dtype::F32, {}}), 4u);
  EXPECT_EQ(data_bytes({"w", Dtype::BF16, {3, 5}}), 30u);
  EXPECT_EQ(data_bytes({"w", Dtype::F6E3M2, {4}}), 3u);
  EXPECT_EQ(data_bytes({"w", Dtype::F64, {7, 0}}), 0u);
  EXPECT_EQ(shape_text({64, 128}), "[64, 128]");
  EXPECT_EQ(shape_text({}), "[]");
}

TEST(TensorSpec, NamesInMessagesCannotSteerTheTerminal) {
  EXPECT_EQ(quoted(std::string_view("a\"\x1b[2J\0", 7)), "\"a\\\"\\u001b[2J\\u0000\"");
}

TEST(TensorSpec, RefusesImpossibleSizes) {
  const auto bytes = [](Dtype dtype, std::vector<int64_t> shape) { return [=] { data_bytes({"w", dtype, shape}); }; };
  test::expect_error(ErrorKind::CorruptData, "negative dimension", bytes(Dtype::U8, {2, -1}));
  test::expect_error(ErrorKind::CorruptData, "overflows 64 bits",
                     bytes(Dtype::U8, {int64_t{1} << 40, int64_t{1} << 40}));
  test::expect_error(ErrorKind::CorruptData, "overflows 64 bits", bytes(Dtype::F64, {int64_t{1} << 60}));
  test::expect_error(ErrorKind::CorruptData, "does not fill whole bytes", bytes(Dtype::F4, {5}));
}

}  // namespace
}  // namespace swage::io
