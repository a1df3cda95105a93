#include "swage/format/gptq.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <array>
#include <atomic>
#include <cstring>

#include "swage/base/error.h"
#include "swage/format/packed_rows.h"
#include "swage/format/stored_tensors.h"

namespace swage::format {
namespace {

using scheme::QuantizationArgs;
using scheme::Strategy;

enum class Variant { V1, V2, Planar };

constexpr int64_t kBlock = 32;  // codes that fill whole words at any width

bool divides_word(int bits) { return 32 % bits == 0; }

void check_args(const QuantizationArgs& args, Variant variant) {
  check_representable("gptq", args);
  const bool width = args.num_bits == 2 || args.num_bits == 3 || args.num_bits == 4 || args.num_bits == 8;
  SWAGE_CHECK(args.type == scheme::NumberType::Int && (width || (variant == Variant::Planar && args.num_bits > 1)),
              Unsupported, "gptq: expected integers of 2, 3, 4 or 8 bits, got ", scheme::name_of(args.type), " of ",
              args.num_bits);
  SWAGE_CHECK(args.strategy == Strategy::Group || args.strategy == Strategy::Channel, Unsupported, "gptq: strategy ",
              name_of(args.strategy));
}

int64_t group_count(const QuantizationArgs& args, int64_t columns) {
  if (args.strategy == Strategy::Channel) return 1;
  const int64_t size = *args.group_size;
  return (columns + size - 1) / size;
}

// --- planes
// -----------------------------------------------------------------------------------------------------------

std::array<int, 3> planes_of(int bits) {
  switch (bits) {
    case 3:
      return {2, 1, 0};
    case 5:
      return {4, 1, 0};
    case 6:
      return {4, 2, 0};
    default:
      return {4, 2, 1};  // 7
  }
}

// One block: 32 signed codes to b words, or back.
bool pack_block(const int8_t* codes, int bits, uint32_t* words) {
  const int half = 1 << (bits - 1);
  uint32_t outside = 0;
  int low = 0;
  for (const int width : planes_of(bits)) {
    for (int w = 0; w < width; ++w) {
      uint32_t word = 0;
      for (int j = 0; j < 32 / width; ++j) {
        const uint32_t code = uint32_t(codes[w * (32 / width) + j] + half);
        outside |= code;
        word |= (code >> low & ((1u << width) - 1)) << (width * j);
      }
      *words++ = word;
    }
    low += width;
  }
  return outside >> bits == 0;
}

void unpack_block(const uint32_t* words, int bits, int8_t* codes) {
  std::array<int, kBlock> sum{};
  int low = 0;
  for (const int width : planes_of(bits)) {
    for (int w = 0; w < width; ++w) {
      const uint32_t word = *words++;
      for (int j = 0; j < 32 / width; ++j)
        sum[size_t(w * (32 / width) + j)] |= int(word >> (width * j) & ((1u << width) - 1)) << low;
    }
    low += width;
  }
  for (size_t i = 0; i < sum.size(); ++i) codes[i] = int8_t(sum[i] - (1 << (bits - 1)));
}

// Rows of whole blocks.
at::Tensor pack_planar(const at::Tensor& codes, int bits) {
  const int64_t blocks = codes.numel() / kBlock;
  at::Tensor packed = at::empty({codes.size(0), codes.size(1) / kBlock * bits}, at::kInt);
  const int8_t* from = codes.const_data_ptr<int8_t>();
  uint32_t* to = reinterpret_cast<uint32_t*>(packed.mutable_data_ptr<int32_t>());
  std::atomic<bool> fits = true;
  at::parallel_for(0, blocks, 1 << 11, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (!pack_block(from + i * kBlock, bits, to + i * bits)) fits = false;
    }
  });
  SWAGE_CHECK(fits, InvalidArgument, "packing: a code or zero point does not fit into ", bits, " bits");
  return packed;
}

at::Tensor unpack_planar(const at::Tensor& packed, int bits) {
  const int64_t blocks = packed.numel() / bits;
  at::Tensor codes = at::empty({packed.size(0), packed.size(1) / bits * kBlock}, at::kChar);
  const uint32_t* from = reinterpret_cast<const uint32_t*>(packed.const_data_ptr<int32_t>());
  int8_t* to = codes.mutable_data_ptr<int8_t>();
  at::parallel_for(0, blocks, 1 << 11, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) unpack_block(from + i * bits, bits, to + i * kBlock);
  });
  return codes;
}

at::Tensor pack_codes_of(const at::Tensor& codes, int bits, Variant variant) {
  return variant == Variant::Planar && !divides_word(bits) ? pack_planar(codes, bits) : pack_rows(codes, bits);
}

at::Tensor unpack_codes_of(const at::Tensor& words, int bits, Variant variant) {
  if (variant == Variant::Planar && !divides_word(bits)) return unpack_planar(words, bits);
  return unpack_rows(words, words.size(1) * 32 / bits, bits, WordLayout::Dense);
}

// --- zero points of v1
// ------------------------------------------------------------------------------------------------

// A word with 1 in every field.
uint32_t ones(int bits) { return uint32_t((uint64_t{1} << 32) - 1) / ((1u << bits) - 1); }

// Adds 1 to every field (or subtracts it), in place: `words` of widths that divide 32, else the signed codes.
void shift_words(at::Tensor& words, int bits, bool up) {
  const uint32_t addend = up ? ones(bits) : 0u - ones(bits);
  uint32_t* word = reinterpret_cast<uint32_t*>(words.mutable_data_ptr<int32_t>());
  for (int64_t i = 0; i < words.numel(); ++i) word[i] += addend;
}

void shift_codes(at::Tensor& codes, int bits, bool up) {
  const int half = 1 << (bits - 1), mask = (1 << bits) - 1;
  int8_t* code = codes.mutable_data_ptr<int8_t>();
  for (int64_t i = 0; i < codes.numel(); ++i) code[i] = int8_t(((code[i] + half + (up ? 1 : -1)) & mask) - half);
}

// int8 [G, O] to words, and back.
at::Tensor pack_zeros(at::Tensor zeros_GO, int bits, Variant variant) {
  if (variant == Variant::V1 && !divides_word(bits)) {
    zeros_GO = zeros_GO.clone();
    shift_codes(zeros_GO, bits, false);
  }
  at::Tensor words = pack_codes_of(zeros_GO, bits, variant);
  if (variant == Variant::V1 && divides_word(bits)) shift_words(words, bits, false);
  return words;
}

at::Tensor unpack_zeros(at::Tensor words, int bits, Variant variant) {
  if (variant == Variant::V1 && divides_word(bits)) {
    words = words.clone();  // a view of the file
    shift_words(words, bits, true);
  }
  at::Tensor zeros_GO = unpack_codes_of(words, bits, variant);
  if (variant == Variant::V1 && !divides_word(bits)) shift_codes(zeros_GO, bits, true);
  return zeros_GO;
}

// --- reading
// ----------------------------------------------------------------------------------------------------------

struct Shape {
  int64_t rows, columns, groups;
};

Shape read_shape(const QuantizationArgs& args, const at::Tensor& qweight_WO) {
  const int64_t bits = args.num_bits;
  const std::string found = io::shape_text(qweight_WO.sizes().vec());
  SWAGE_CHECK(qweight_WO.dim() == 2 && qweight_WO.numel() > 0, CorruptData, "qweight: expected a matrix, found shape ",
              found);
  const bool whole = qweight_WO.size(0) * 32 % bits == 0 && qweight_WO.size(1) * bits % 32 == 0;
  SWAGE_CHECK(whole, CorruptData, "qweight: shape ", found, " does not hold whole columns of ", bits,
              "-bit codes for whole words of zero points");
  const int64_t columns = qweight_WO.size(0) * 32 / bits;
  return {qweight_WO.size(1), columns, group_count(args, columns)};
}

at::Tensor consecutive_groups(const QuantizationArgs& args, int64_t columns) {
  at::Tensor g_idx_I = at::full({columns}, 0, at::kInt);
  if (args.strategy == Strategy::Channel) return g_idx_I;
  int32_t* group = g_idx_I.mutable_data_ptr<int32_t>();
  for (int64_t i = 0; i < columns; ++i) group[i] = int32_t(i / *args.group_size);
  return g_idx_I;
}

// The group of each column; undefined where that is column / group size and all groups are whole.
at::Tensor read_g_idx(const QuantizationArgs& args, const TensorLookup& lookup, const Shape& shape) {
  const at::Tensor plain_I = consecutive_groups(args, shape.columns);
  const bool whole = shape.groups == 1 || shape.columns % shape.groups == 0;
  const bool regular = shape.groups == 1 || (whole && shape.columns / shape.groups == *args.group_size);
  if (!lookup("g_idx").defined()) return regular ? at::Tensor() : plain_I;
  const at::Tensor g_idx_I = stored(lookup, "g_idx", {at::kInt, at::kLong}, {shape.columns}).to(at::kLong);
  const int64_t* group = g_idx_I.const_data_ptr<int64_t>();
  const int32_t* plain = plain_I.const_data_ptr<int32_t>();
  bool sorted = false;
  for (int64_t i = 0; i < shape.columns; ++i) {
    if (group[i] == -1) return regular ? at::Tensor() : plain_I;  // never set
    sorted = sorted || group[i] != plain[i];
  }
  if (!sorted) return regular ? at::Tensor() : plain_I;
  for (int64_t i = 0; i < shape.columns; ++i) {
    SWAGE_CHECK(group[i] >= 0 && group[i] < shape.groups, CorruptData, "g_idx: input ", i, " in group ", group[i],
                " of ", shape.groups);
  }
  return g_idx_I.to(at::kInt);
}

void check_symmetric(const at::Tensor& zeros_GO, int bits) {
  const int8_t* zero = zeros_GO.const_data_ptr<int8_t>();
  const int half = 1 << (bits - 1);
  for (int64_t i = 0; i < zeros_GO.numel(); ++i) {
    SWAGE_CHECK(zero[i] == 0, CorruptData, "qzeros: the configuration says symmetric, which is zero points of ", half,
                ", but output ", i % zeros_GO.size(1), " has ", int(zero[i]) + half, " in group ", i / zeros_GO.size(1),
                "; is sym or checkpoint_format (gptq, gptq_v2) wrong?");
  }
}

QuantizedWeight unpack_variant(const QuantizationArgs& args, const TensorLookup& lookup, Variant variant) {
  check_args(args, variant);
  const int bits = args.num_bits;
  const at::Tensor qweight_WO = stored(lookup, "qweight", {at::kInt});
  const Shape shape = read_shape(args, qweight_WO);
  const bool without_zeros =
      args.symmetric && (!lookup("qzeros").defined() || lookup("qzeros").numel() == 0);  // all would be 2^(b-1)
  const at::Tensor scales_GO =
      stored(lookup, "scales", {at::kHalf, at::kBFloat16, at::kFloat}, {shape.groups, shape.rows});
  QuantizedWeight weight;
  weight.g_idx_I = read_g_idx(args, lookup, shape);
  if (!without_zeros) {
    const at::Tensor zeros_GO =
        unpack_zeros(stored(lookup, "qzeros", {at::kInt}, {shape.groups, shape.rows * bits / 32}), bits, variant);
    if (args.symmetric)
      check_symmetric(zeros_GO, bits);
    else
      weight.zero_point_OG = zeros_GO.t().contiguous();
  }
  weight.scale_OG = scales_GO.t().contiguous();
  weight.codes_OI = unpack_codes_of(qweight_WO.t().contiguous(), bits, variant);
  return weight;
}

template <Variant variant>
QuantizedWeight unpack(const QuantizationArgs& args, const TensorLookup& lookup) {
  return unpack_variant(args, lookup, variant);
}

template <Variant variant>
std::vector<int64_t> shape(const QuantizationArgs& args, const TensorLookup& lookup) {
  check_args(args, variant);
  const Shape found = read_shape(args, stored(lookup, "qweight", {at::kInt}));
  return {found.rows, found.columns};
}

// --- writing
// ----------------------------------------------------------------------------------------------------------

template <Variant variant>
std::vector<io::TensorSpec> specs(const QuantizationArgs& args, int64_t rows, int64_t columns, io::Dtype scale_dtype) {
  check_args(args, variant);
  SWAGE_CHECK(rows % kBlock == 0 && columns % kBlock == 0, InvalidArgument,
              "gptq: expected outputs and inputs in multiples of ", kBlock, ", got ", rows, " x ", columns);
  const int64_t bits = args.num_bits, groups = group_count(args, columns);
  return {{"qweight", io::Dtype::I32, {columns * bits / 32, rows}},
          {"qzeros", io::Dtype::I32, {groups, rows * bits / 32}},
          {"scales", scale_dtype, {groups, rows}},
          {"g_idx", io::Dtype::I32, {columns}}};
}

template <Variant variant>
std::vector<std::pair<std::string, at::Tensor>> pack(const QuantizationArgs& args, const QuantizedWeight& weight) {
  check_args(args, variant);
  const int bits = args.num_bits;
  SWAGE_CHECK(weight.codes_OI.defined() && weight.codes_OI.dim() == 2 && weight.codes_OI.scalar_type() == at::kChar,
              InvalidArgument, "gptq: expected a matrix of int8 codes");
  const int64_t rows = weight.codes_OI.size(0), columns = weight.codes_OI.size(1), groups = group_count(args, columns);
  SWAGE_CHECK(rows % kBlock == 0 && columns % kBlock == 0, InvalidArgument,
              "gptq: expected outputs and inputs in multiples of ", kBlock, ", got ", rows, " x ", columns);
  const std::vector<int64_t> grid = {rows, groups};
  SWAGE_CHECK(weight.scale_OG.defined() && weight.scale_OG.sizes() == at::IntArrayRef(grid), InvalidArgument,
              "gptq: expected scales of shape ", io::shape_text(grid));
  const at::Tensor& zeros_OG = weight.zero_point_OG;
  SWAGE_CHECK(zeros_OG.defined() != args.symmetric && (args.symmetric || zeros_OG.sizes() == at::IntArrayRef(grid)),
              InvalidArgument, "gptq: expected ",
              args.symmetric ? "no zero points" : "zero points of shape " + io::shape_text(grid));
  const at::Tensor zeros_GO = args.symmetric ? at::full({groups, rows}, 0, at::kChar) : zeros_OG.cpu().t().contiguous();
  const at::Tensor g_idx_I =
      weight.g_idx_I.defined() ? weight.g_idx_I.to(at::kCPU, at::kInt).contiguous() : consecutive_groups(args, columns);
  SWAGE_CHECK(g_idx_I.numel() == columns, InvalidArgument, "gptq: expected a group for each of ", columns,
              " inputs, got ", g_idx_I.numel());
  return {{"qweight", pack_codes_of(weight.codes_OI.cpu().contiguous(), bits, variant).t().contiguous()},
          {"qzeros", pack_zeros(zeros_GO, bits, variant)},
          {"scales", weight.scale_OG.cpu().t().contiguous()},
          {"g_idx", g_idx_I}};
}

template <Variant variant>
constexpr Format row(std::string_view name) {
  return {.name = name,
          .specs = specs<variant>,
          .shape = shape<variant>,
          .pack = pack<variant>,
          .unpack = unpack<variant>,
          .unpack_before_0_18 = unpack<variant>};
}

constexpr std::array<Format, 3> kVariants = {row<Variant::V1>("gptq"), row<Variant::V2>("gptq_v2"),
                                             row<Variant::Planar>("gptq_p")};

}  // namespace

const Format& gptq_format(std::string_view name) {
  for (const Format& format : kVariants) {
    if (format.name == name) return format;
  }
  throw Error(ErrorKind::Unsupported,
              cat("GPTQ format \"", name, "\" is not supported; supported: gptq, gptq_v2, gptq_p"));
}

bool fits_gptq_v1(const at::Tensor& zero_point, int bits) {
  if (!zero_point.defined()) return true;
  const at::Tensor flat = zero_point.cpu().contiguous();
  const int8_t* zero = flat.const_data_ptr<int8_t>();
  for (int64_t i = 0; i < flat.numel(); ++i) {
    if (zero[i] == -(1 << (bits - 1))) return false;
  }
  return true;
}

}  // namespace swage::format
