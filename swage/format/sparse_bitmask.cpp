#include "swage/format/sparse_bitmask.h"

#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>

#include <bit>
#include <cstring>

#include "swage/base/error.h"
#include "swage/format/stored_tensors.h"

namespace swage::format {
namespace {

constexpr std::initializer_list<at::ScalarType> kValues = {at::kFloat, at::kBFloat16, at::kHalf, at::kFloat8_e4m3fn,
                                                           at::kChar};

struct Parts {
  int64_t rows = 0, columns = 0;
  at::Tensor bitmask, values;
  std::vector<int64_t> first;  // index of each row's first value, and one past the last
};

std::vector<int64_t> counted(const Parts& parts) {
  const uint8_t* mask = parts.bitmask.const_data_ptr<uint8_t>();
  const int64_t bytes = parts.bitmask.size(1);
  std::vector<int64_t> first = {0};
  for (int64_t r = 0; r < parts.rows; ++r) {
    int64_t count = 0;
    for (int64_t i = 0; i < bytes; ++i) count += std::popcount(mask[r * bytes + i]);
    first.push_back(first.back() + count);
  }
  return first;
}

void check_unused_bits(const Parts& parts) {
  const uint8_t* mask = parts.bitmask.const_data_ptr<uint8_t>();
  const int64_t bytes = parts.bitmask.size(1);
  if (parts.columns % 8 == 0) return;
  for (int64_t r = 0; r < parts.rows; ++r) {
    SWAGE_CHECK(mask[r * bytes + bytes - 1] >> parts.columns % 8 == 0, CorruptData, "bitmask: row ", r,
                " names columns beyond ", parts.columns);
  }
}

Parts read_parts(const TensorLookup& lookup) {
  Parts parts;
  const at::Tensor shape = stored(lookup, "shape", {at::kLong}).flatten();
  SWAGE_CHECK(shape.numel() == 2, CorruptData, "shape: expected two sizes, found ", shape.numel());
  parts.rows = shape.const_data_ptr<int64_t>()[0];
  parts.columns = shape.const_data_ptr<int64_t>()[1];
  parts.bitmask = stored(lookup, "bitmask", {at::kByte});
  const bool fits = parts.bitmask.dim() == 2 && parts.rows > 0 && parts.columns > 0 &&
                    parts.bitmask.size(0) == parts.rows &&
                    parts.bitmask.size(1) == parts.columns / 8 + (parts.columns % 8 != 0);
  SWAGE_CHECK(fits, CorruptData, "bitmask: shape ", io::shape_text(parts.bitmask.sizes().vec()),
              " does not fit a weight of ", parts.rows, " x ", parts.columns);
  check_unused_bits(parts);
  parts.values = stored(lookup, "compressed", kValues);
  parts.first = counted(parts);
  SWAGE_CHECK(parts.first.back() == parts.values.numel(), CorruptData, "compressed: the bitmask names ",
              parts.first.back(), " values, found ", parts.values.numel());
  if (lookup("row_offsets").defined()) {
    const at::Tensor offsets = stored(lookup, "row_offsets", {at::kLong}, {parts.rows});
    const bool same =
        std::memcmp(offsets.const_data_ptr(), parts.first.data(), size_t(parts.rows) * sizeof(int64_t)) == 0;
    SWAGE_CHECK(same, CorruptData, "row_offsets: do not follow from the bitmask");
  }
  return parts;
}

template <class Value>
void expand_row(const uint8_t* mask, const Value* values, int64_t columns, Value* out) {
  for (int64_t c = 0; c < columns; ++c) {
    if (mask[c / 8] >> c % 8 & 1) out[c] = *values++;
  }
}

template <class Value>
void expand(const Parts& parts, at::Tensor& dense) {
  const uint8_t* mask = parts.bitmask.const_data_ptr<uint8_t>();
  const Value* values = static_cast<const Value*>(parts.values.const_data_ptr());
  Value* out = static_cast<Value*>(dense.mutable_data_ptr());
  at::parallel_for(0, parts.rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      expand_row(mask + r * parts.bitmask.size(1), values + parts.first[size_t(r)], parts.columns,
                 out + r * parts.columns);
    }
  });
}

}  // namespace

bool is_sparse(const TensorLookup& lookup) { return lookup("bitmask").defined() && lookup("compressed").defined(); }

std::vector<int64_t> sparse_shape(const TensorLookup& lookup) {
  const Parts parts = read_parts(lookup);
  return {parts.rows, parts.columns};
}

at::Tensor expand_sparse(const TensorLookup& lookup) {
  const Parts parts = read_parts(lookup);
  at::Tensor dense = at::zeros({parts.rows, parts.columns}, parts.values.scalar_type());
  switch (parts.values.element_size()) {
    case 1:
      expand<uint8_t>(parts, dense);
      break;
    case 2:
      expand<uint16_t>(parts, dense);
      break;
    default:
      expand<uint32_t>(parts, dense);
      break;
  }
  return dense;
}

}  // namespace swage::format
