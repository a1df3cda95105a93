#include "swage/io/dtype.h"

#include <array>
#include <cstddef>

namespace swage::io {
namespace {

struct Row {
  Dtype dtype;
  std::string_view name;
  int bits;
};

// In the order of the enumeration, so that a type's value is its row.
constexpr std::array<Row, 22> kRows{{
    {Dtype::Bool, "BOOL", 8},
    {Dtype::F4, "F4", 4},
    {Dtype::F6E2M3, "F6_E2M3", 6},
    {Dtype::F6E3M2, "F6_E3M2", 6},
    {Dtype::U8, "U8", 8},
    {Dtype::I8, "I8", 8},
    {Dtype::F8E5M2, "F8_E5M2", 8},
    {Dtype::F8E4M3, "F8_E4M3", 8},
    {Dtype::F8E8M0, "F8_E8M0", 8},
    {Dtype::F8E4M3Fnuz, "F8_E4M3FNUZ", 8},
    {Dtype::F8E5M2Fnuz, "F8_E5M2FNUZ", 8},
    {Dtype::I16, "I16", 16},
    {Dtype::U16, "U16", 16},
    {Dtype::F16, "F16", 16},
    {Dtype::BF16, "BF16", 16},
    {Dtype::I32, "I32", 32},
    {Dtype::U32, "U32", 32},
    {Dtype::F32, "F32", 32},
    {Dtype::C64, "C64", 64},
    {Dtype::F64, "F64", 64},
    {Dtype::I64, "I64", 64},
    {Dtype::U64, "U64", 64},
}};

constexpr bool rows_follow_enumeration() {
  for (size_t i = 0; i < kRows.size(); ++i) {
    if (size_t(kRows[i].dtype) != i) return false;
  }
  return true;
}
static_assert(rows_follow_enumeration());

}  // namespace

std::string_view name_of(Dtype dtype) { return kRows[size_t(dtype)].name; }

std::optional<Dtype> dtype_named(std::string_view name) {
  for (const Row& row : kRows) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

int bits_of(Dtype dtype) { return kRows[size_t(dtype)].bits; }

}  // namespace swage::io
