#include "swage/format/packed_rows.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <atomic>

#include "swage/base/error.h"

namespace swage::format {
namespace {

// Below this many codes a thread is not worth starting.
constexpr int64_t kCodesPerTask = 1 << 16;

int64_t rows_per_task(int64_t columns) { return std::max<int64_t>(1, kCodesPerTask / std::max<int64_t>(1, columns)); }

}  // namespace

at::Tensor pack_rows(const at::Tensor& codes, int bits) {
  const int64_t rows = codes.size(0), columns = codes.size(1), words = words_for(columns, bits, WordLayout::Dense);
  at::Tensor packed = at::empty({rows, words}, at::kInt);
  const int8_t* from = codes.const_data_ptr<int8_t>();
  uint32_t* to = reinterpret_cast<uint32_t*>(packed.mutable_data_ptr<int32_t>());
  std::atomic<bool> fits = true;
  at::parallel_for(0, rows, rows_per_task(columns), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (!pack_codes(from + r * columns, columns, bits, WordLayout::Dense, to + r * words)) fits = false;
    }
  });
  SWAGE_CHECK(fits, InvalidArgument, "packing: a code or zero point does not fit into ", bits, " bits");
  return packed;
}

at::Tensor unpack_rows(const at::Tensor& packed, int64_t columns, int bits, WordLayout layout) {
  const int64_t rows = packed.size(0), words = packed.size(1);
  at::Tensor codes = at::empty({rows, columns}, at::kChar);
  const uint32_t* from = reinterpret_cast<const uint32_t*>(packed.const_data_ptr<int32_t>());
  int8_t* to = codes.mutable_data_ptr<int8_t>();
  at::parallel_for(0, rows, rows_per_task(columns), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) unpack_codes(from + r * words, columns, bits, layout, to + r * columns);
  });
  return codes;
}

}  // namespace swage::format
