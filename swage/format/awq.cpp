#include "swage/format/awq.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "swage/base/error.h"
#include "swage/format/stored_tensors.h"

namespace swage::format {
namespace {

using scheme::QuantizationArgs;
using scheme::Strategy;

constexpr int64_t kPerWord = 8;
constexpr std::array<int, kPerWord> kOrder = {0, 2, 4, 6, 1, 3, 5, 7};  // the output in each nibble, lowest first
constexpr int64_t kTile = 64;  // inputs at a time: the rows of words then stay in the cache
constexpr uint32_t kSymmetricWord = 0x88888888;

void check_args(const QuantizationArgs& args) {
  check_representable("awq", args);
  const bool grouped = args.strategy == Strategy::Group || args.strategy == Strategy::Channel;
  SWAGE_CHECK(args.type == scheme::NumberType::Int && args.num_bits == 4 && grouped && !orders_groups(args),
              Unsupported, "awq: expected integers of 4 bits in consecutive groups, got ", scheme::name_of(args.type),
              " of ", args.num_bits, " bits, strategy ", scheme::name_of(args.strategy),
              orders_groups(args) ? ", actorder group" : "");
}

// int8 signed [O, I] to words [I, O / 8]. False, and words without meaning, if a code needs more than 4 bits.
bool pack_words(const at::Tensor& codes_OI, at::Tensor& words) {
  const int64_t columns = codes_OI.size(1), count = codes_OI.size(0) / kPerWord;
  const int8_t* codes = codes_OI.const_data_ptr<int8_t>();
  uint32_t* out = reinterpret_cast<uint32_t*>(words.mutable_data_ptr<int32_t>());
  std::atomic<bool> fits = true;
  at::parallel_for(0, (columns + kTile - 1) / kTile, 1, [&](int64_t begin, int64_t end) {
    uint32_t outside = 0;
    for (int64_t c = 0; c < count; ++c) {
      for (int64_t k = begin * kTile; k < std::min(columns, end * kTile); ++k) {
        uint32_t word = 0;
        for (int i = 0; i < kPerWord; ++i) {
          const uint32_t code = uint32_t(codes[(kPerWord * c + kOrder[size_t(i)]) * columns + k] + 8);
          outside |= code;
          word |= (code & 15) << (4 * i);
        }
        out[k * count + c] = word;
      }
    }
    if (outside >> 4) fits = false;
  });
  return fits;
}

at::Tensor unpack_words(const at::Tensor& words) {
  const int64_t columns = words.size(0), count = words.size(1);
  at::Tensor codes_OI = at::empty({count * kPerWord, columns}, at::kChar);
  const uint32_t* from = reinterpret_cast<const uint32_t*>(words.const_data_ptr<int32_t>());
  int8_t* codes = codes_OI.mutable_data_ptr<int8_t>();
  at::parallel_for(0, (columns + kTile - 1) / kTile, 1, [&](int64_t begin, int64_t end) {
    for (int64_t c = 0; c < count; ++c) {
      for (int64_t k = begin * kTile; k < std::min(columns, end * kTile); ++k) {
        const uint32_t word = from[k * count + c];
        for (int i = 0; i < kPerWord; ++i)
          codes[(kPerWord * c + kOrder[size_t(i)]) * columns + k] = int8_t(int(word >> (4 * i) & 15) - 8);
      }
    }
  });
  return codes_OI;
}

at::Tensor packed(const at::Tensor& codes_OI) {
  at::Tensor words = at::empty({codes_OI.size(1), codes_OI.size(0) / kPerWord}, at::kInt);
  SWAGE_CHECK(pack_words(codes_OI, words), InvalidArgument, "awq: a code or zero point does not fit into 4 bits");
  return words;
}

at::Tensor stored_words(const TensorLookup& lookup) {
  const at::Tensor qweight = stored(lookup, "qweight", {at::kInt});
  SWAGE_CHECK(qweight.dim() == 2 && qweight.numel() > 0, CorruptData, "qweight: expected a matrix, found shape ",
              io::shape_text(qweight.sizes().vec()));
  return qweight;
}

QuantizedWeight unpack(const QuantizationArgs& args, const TensorLookup& lookup) {
  check_args(args);
  const at::Tensor qweight = stored_words(lookup);
  const int64_t columns = qweight.size(0), count = qweight.size(1);
  const int64_t size = args.group_size.value_or(columns);
  SWAGE_CHECK(columns % size == 0, CorruptData, "qweight: ", columns, " inputs do not split into groups of ", size);
  const at::Tensor qzeros = stored(lookup, "qzeros", {at::kInt}, {columns / size, count});
  const at::Tensor scales_GO =
      stored(lookup, "scales", {at::kHalf, at::kBFloat16, at::kFloat}, {columns / size, count * kPerWord});
  QuantizedWeight weight;
  weight.codes_OI = unpack_words(qweight);
  weight.scale_OG = scales_GO.t().contiguous();
  if (!args.symmetric) weight.zero_point_OG = unpack_words(qzeros);
  SWAGE_CHECK(!args.symmetric || awq_zeros_are_symmetric(qzeros), CorruptData,
              "qzeros: expected zero points of 8 in a symmetric weight");
  return weight;
}

std::vector<int64_t> shape(const QuantizationArgs& args, const TensorLookup& lookup) {
  check_args(args);
  const at::Tensor qweight = stored_words(lookup);
  return {qweight.size(1) * kPerWord, qweight.size(0)};
}

std::vector<io::TensorSpec> specs(const QuantizationArgs& args, int64_t rows, int64_t columns, io::Dtype scale_dtype) {
  check_args(args);
  SWAGE_CHECK(rows % kPerWord == 0, InvalidArgument, "awq: expected outputs in multiples of ", kPerWord, ", got ",
              rows);
  const int64_t groups = columns / columns_per_scale(args, columns);
  return {{"qweight", io::Dtype::I32, {columns, rows / kPerWord}},
          {"qzeros", io::Dtype::I32, {groups, rows / kPerWord}},
          {"scales", scale_dtype, {groups, rows}}};
}

std::vector<std::pair<std::string, at::Tensor>> pack(const QuantizationArgs& args, const QuantizedWeight& weight) {
  check_args(args);
  SWAGE_CHECK(!weight.g_idx_I.defined(), InvalidArgument, "awq: cannot store sorted groups");
  const QuantizedWeight ready = checked_for_packing(args, weight, at::kChar);
  SWAGE_CHECK(ready.codes_OI.size(0) % kPerWord == 0, InvalidArgument, "awq: expected outputs in multiples of ",
              kPerWord, ", got ", ready.codes_OI.size(0));
  const at::Tensor zeros_OG = args.symmetric ? at::full(ready.scale_OG.sizes(), 0, at::kChar) : ready.zero_point_OG;
  return {
      {"qweight", packed(ready.codes_OI)}, {"qzeros", packed(zeros_OG)}, {"scales", ready.scale_OG.t().contiguous()}};
}

constexpr Format kFormat = {
    .name = "awq", .specs = specs, .shape = shape, .pack = pack, .unpack = unpack, .unpack_before_0_18 = unpack};

}  // namespace

const Format& awq_format() { return kFormat; }

bool awq_zeros_are_symmetric(const at::Tensor& qzeros) {
  const at::Tensor words = qzeros.contiguous();
  const uint32_t* word = reinterpret_cast<const uint32_t*>(words.const_data_ptr<int32_t>());
  return std::all_of(word, word + words.numel(), [](uint32_t w) { return w == kSymmetricWord; });
}

}  // namespace swage::format
