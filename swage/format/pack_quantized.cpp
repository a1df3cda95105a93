#include "swage/format/pack_quantized.h"

#include <ATen/ops/empty.h>

#include <array>
#include <optional>

#include "swage/base/error.h"
#include "swage/format/packed_rows.h"
#include "swage/format/stored_tensors.h"

namespace swage::format::pack_quantized {
namespace {

using scheme::Strategy;

void check_args(const scheme::QuantizationArgs& args) {
  check_representable("pack-quantized", args);
  SWAGE_CHECK(args.type == scheme::NumberType::Int, Unsupported, "pack-quantized: weights of type float");
  SWAGE_CHECK(!orders_groups(args) || args.strategy == Strategy::Group, Unsupported,
              "pack-quantized: actorder group with strategy ", name_of(args.strategy));
}

at::Tensor shape_tensor(int64_t rows, int64_t columns) {
  at::Tensor shape = at::empty({2}, at::kLong);
  shape.mutable_data_ptr<int64_t>()[0] = rows;
  shape.mutable_data_ptr<int64_t>()[1] = columns;
  return shape;
}

std::array<WordLayout, 2> layouts(bool old_first) {
  return old_first ? std::array{WordLayout::Separate, WordLayout::Dense}
                   : std::array{WordLayout::Dense, WordLayout::Separate};
}

// weight_packed, and what weight_shape says of it, which is checked against the words.
struct PackedCodes {
  at::Tensor words_OW;
  int64_t rows = 0, columns = 0;

  bool fits(int bits, WordLayout layout) const { return words_for(columns, bits, layout) == words_OW.size(1); }
};

PackedCodes read_packed(const scheme::QuantizationArgs& args, const TensorLookup& lookup) {
  PackedCodes packed;
  packed.words_OW = stored(lookup, "weight_packed", {at::kInt});
  const std::string found = io::shape_text(packed.words_OW.sizes().vec());
  SWAGE_CHECK(packed.words_OW.dim() == 2, CorruptData, "weight_packed: expected a matrix, found shape ", found);
  const at::Tensor shape = stored(lookup, "weight_shape", {at::kLong, at::kInt}, {2}).to(at::kLong);
  packed.rows = shape.const_data_ptr<int64_t>()[0];
  packed.columns = shape.const_data_ptr<int64_t>()[1];
  const std::string claimed = io::shape_text({packed.rows, packed.columns});
  // First that the columns are no more than bits, so that counting words cannot overflow.
  const bool sane =
      packed.rows == packed.words_OW.size(0) && packed.columns > 0 && packed.columns <= packed.words_OW.size(1) * 32;
  SWAGE_CHECK(
      sane && (packed.fits(args.num_bits, WordLayout::Dense) || packed.fits(args.num_bits, WordLayout::Separate)),
      CorruptData, "weight_shape: ", claimed, " with ", args.num_bits, " bits does not fill weight_packed of shape ",
      found);
  return packed;
}

// int8 [O, G] out of a bit stream for each column of `zeros_WG`.
at::Tensor unpack_columns(const at::Tensor& zeros_WG, int64_t rows, int bits, WordLayout layout) {
  return unpack_rows(zeros_WG.t().contiguous(), rows, bits, layout).t().contiguous();
}

// Before compressed-tensors 0.10 they were stored as they are, one int8 each.
bool is_unpacked(const at::Tensor& zeros) { return zeros.defined() && zeros.scalar_type() == at::kChar; }

at::Tensor read_unpacked(const scheme::QuantizationArgs& args, const TensorLookup& lookup, const at::Tensor& scale_OG) {
  const at::Tensor zeros_OG = stored_zero_point(lookup, scale_OG, at::kChar);
  const int half = 1 << (args.num_bits - 1);
  const int8_t* zero = zeros_OG.const_data_ptr<int8_t>();
  for (int64_t i = 0; i < zeros_OG.numel(); ++i) {
    SWAGE_CHECK(zero[i] >= -half && zero[i] < half, CorruptData, "weight_zero_point: ", int(zero[i]),
                " is no number of ", args.num_bits, " bits");
  }
  return zeros_OG;
}

at::Tensor read_zero_point(const scheme::QuantizationArgs& args, const TensorLookup& lookup, const at::Tensor& scale_OG,
                           int64_t rows, WordLayout layout) {
  if (args.strategy == Strategy::Tensor) return stored_zero_point(lookup, scale_OG, at::kChar);
  if (is_unpacked(lookup("weight_zero_point"))) return read_unpacked(args, lookup, scale_OG);
  const std::vector<int64_t> shape = {words_for(rows, args.num_bits, layout), scale_OG.size(1)};
  return unpack_columns(stored(lookup, "weight_zero_point", {at::kInt}, shape), rows, args.num_bits, layout);
}

// The group of each column, or an undefined tensor where that is column / group_size.
at::Tensor read_g_idx(const scheme::QuantizationArgs& args, const TensorLookup& lookup, int64_t columns,
                      int64_t groups) {
  if (args.strategy != Strategy::Group || !lookup("weight_g_idx").defined()) return {};
  const at::Tensor g_idx = stored(lookup, "weight_g_idx", {at::kInt, at::kLong}, {columns}).to(at::kLong);
  const int64_t* group = g_idx.const_data_ptr<int64_t>();
  const int64_t size = columns / groups;
  bool consecutive = true;
  for (int64_t i = 0; i < columns; ++i) {
    if (group[i] == -1) return {};  // never set
    consecutive = consecutive && group[i] == i / size;
  }
  if (consecutive) return {};
  for (int64_t i = 0; i < columns; ++i) {
    SWAGE_CHECK(group[i] >= 0 && group[i] < groups, CorruptData, "weight_g_idx: column ", i, " in group ", group[i],
                " of ", groups);
  }
  return g_idx.to(at::kInt);
}

// The layout of weight_packed, and of weight_zero_point where that tells more.
WordLayout find_layout(const scheme::QuantizationArgs& args, const TensorLookup& lookup, const PackedCodes& packed,
                       bool old_first) {
  const at::Tensor zeros =
      args.symmetric || args.strategy == Strategy::Tensor ? at::Tensor() : lookup("weight_zero_point");
  std::optional<WordLayout> by_weight;
  for (const WordLayout layout : layouts(old_first)) {
    if (!packed.fits(args.num_bits, layout)) continue;
    const bool zeros_fit = !zeros.defined() || is_unpacked(zeros) ||
                           (zeros.dim() == 2 && zeros.size(0) == words_for(packed.rows, args.num_bits, layout));
    if (zeros_fit) return layout;
    if (!by_weight) by_weight = layout;
  }
  return *by_weight;
}

QuantizedWeight unpack_preferring(const scheme::QuantizationArgs& args, const TensorLookup& lookup, bool old_first) {
  check_args(args);
  const PackedCodes packed = read_packed(args, lookup);
  const WordLayout layout = find_layout(args, lookup, packed, old_first);
  QuantizedWeight weight;
  weight.scale_OG = stored_scale(args, lookup, packed.rows, packed.columns);
  if (!args.symmetric) weight.zero_point_OG = read_zero_point(args, lookup, weight.scale_OG, packed.rows, layout);
  weight.g_idx_I = read_g_idx(args, lookup, packed.columns, weight.scale_OG.dim() == 2 ? weight.scale_OG.size(1) : 1);
  weight.codes_OI = unpack_rows(packed.words_OW, packed.columns, args.num_bits, layout);
  return weight;
}

}  // namespace

std::vector<io::TensorSpec> specs(const scheme::QuantizationArgs& args, int64_t rows, int64_t columns,
                                  io::Dtype scale_dtype) {
  check_args(args);
  const auto words = [&](int64_t count) { return words_for(count, args.num_bits, WordLayout::Dense); };
  const std::vector<int64_t> scales = scale_shape(args, rows, columns);
  std::vector<io::TensorSpec> specs = {{"weight_packed", io::Dtype::I32, {rows, words(columns)}},
                                       {"weight_scale", scale_dtype, scales}};
  if (!args.symmetric && args.strategy == Strategy::Tensor) specs.push_back({"weight_zero_point", io::Dtype::I8, {1}});
  if (!args.symmetric && args.strategy != Strategy::Tensor)
    specs.push_back({"weight_zero_point", io::Dtype::I32, {words(rows), scales[1]}});
  if (orders_groups(args)) specs.push_back({"weight_g_idx", io::Dtype::I32, {columns}});
  specs.push_back({"weight_shape", io::Dtype::I64, {2}});
  return specs;
}

std::vector<std::pair<std::string, at::Tensor>> pack(const scheme::QuantizationArgs& args,
                                                     const QuantizedWeight& weight) {
  check_args(args);
  const QuantizedWeight ready = checked_for_packing(args, weight, at::kChar);
  const int64_t rows = ready.codes_OI.size(0), columns = ready.codes_OI.size(1);
  SWAGE_CHECK(ready.g_idx_I.defined() == orders_groups(args), InvalidArgument, "pack-quantized: actorder is ",
              args.actorder.value_or("not set"), ", but groups of sorted columns are ",
              ready.g_idx_I.defined() ? "" : "not ", "given");
  std::vector<std::pair<std::string, at::Tensor>> packed = {{"weight_packed", pack_rows(ready.codes_OI, args.num_bits)},
                                                            {"weight_scale", ready.scale_OG}};
  if (!args.symmetric) {
    const bool whole = args.strategy == Strategy::Tensor;
    packed.emplace_back(
        "weight_zero_point",
        whole ? ready.zero_point_OG : pack_rows(ready.zero_point_OG.t().contiguous(), args.num_bits).t().contiguous());
  }
  if (ready.g_idx_I.defined()) packed.emplace_back("weight_g_idx", ready.g_idx_I);
  packed.emplace_back("weight_shape", shape_tensor(rows, columns));
  return packed;
}

QuantizedWeight unpack(const scheme::QuantizationArgs& args, const TensorLookup& lookup) {
  return unpack_preferring(args, lookup, false);
}

QuantizedWeight unpack_before_0_18(const scheme::QuantizationArgs& args, const TensorLookup& lookup) {
  return unpack_preferring(args, lookup, true);
}

std::vector<int64_t> shape(const scheme::QuantizationArgs& args, const TensorLookup& lookup) {
  check_args(args);
  const PackedCodes packed = read_packed(args, lookup);
  return {packed.rows, packed.columns};
}

}  // namespace swage::format::pack_quantized
