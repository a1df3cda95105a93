#include "swage/format/marlin_24.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include <array>

#include "swage/base/error.h"
#include "swage/format/stored_tensors.h"

namespace swage::format::marlin_24 {
namespace {

constexpr int64_t kRun = 1024;  // codes permuted together: four tiles of 16 x 16

void check_args(const scheme::QuantizationArgs& args) {
  const bool numbers =
      args.type == scheme::NumberType::Int && (args.num_bits == 4 || args.num_bits == 8) && args.symmetric;
  SWAGE_CHECK(numbers, Unsupported, "marlin-24: weights of type ", name_of(args.type), " with ", args.num_bits, " bits",
              args.symmetric ? "" : " and zero points");
  const bool known = args.strategy == scheme::Strategy::Channel || args.strategy == scheme::Strategy::Group;
  SWAGE_CHECK(known && !orders_groups(args), Unsupported, "marlin-24: weights with strategy ", name_of(args.strategy));
}

[[noreturn]] void refuse() { throw Error(ErrorKind::Unsupported, "format \"marlin-24\" is read, not written"); }

// Position p of a run holds the code of its tiles' element permutation[p]; an element is 256 tile + 16 row + column.
std::array<int16_t, kRun> run_permutation(int bits) {
  constexpr std::array<int, 8> kFour = {0, 2, 4, 6, 1, 3, 5, 7};
  constexpr std::array<int, 4> kEight = {0, 2, 1, 3};
  std::array<int16_t, kRun> plain{}, permutation{};
  size_t p = 0;
  for (int lane = 0; lane < 32; ++lane) {
    const int low = 2 * (lane % 4);
    for (int j = 0; j < 4; ++j) {
      for (int block = 0; block < 2; ++block) {
        for (const int row : {low, low + 1, low + 8, low + 9})
          plain[p++] = int16_t(16 * row + 256 * (lane / 8) + 8 * (lane / 4 % 2) + 4 * block + j);
      }
    }
  }
  const size_t per_word = size_t(32 / bits);  // which code of the run each code of a word is
  for (size_t i = 0; i < size_t(kRun); ++i) {
    const size_t within = size_t(bits == 4 ? kFour[i % 8] : kEight[i % 4]);
    permutation[i] = plain[i - i % per_word + within];
  }
  return permutation;
}

struct Shape {
  int64_t rows, columns;
};

Shape stored_shape(const scheme::QuantizationArgs& args, const TensorLookup& lookup) {
  const at::Tensor packed = stored(lookup, "weight_packed", {at::kInt});
  const int64_t per_word = 32 / args.num_bits;
  const bool matrix = packed.dim() == 2 && packed.numel() > 0 && packed.size(1) * per_word % kRun == 0;
  SWAGE_CHECK(matrix, CorruptData, "weight_packed: expected a matrix of whole runs of 1024 codes, found shape ",
              io::shape_text(packed.sizes().vec()));
  return {packed.size(1) * per_word / 16, packed.size(0) * 32};
}

// Signed kept codes [I / 2, O].
at::Tensor kept_codes(int bits, const at::Tensor& packed, Shape shape) {
  const std::array<int16_t, kRun> permutation = run_permutation(bits);
  const int32_t* words = packed.const_data_ptr<int32_t>();
  const int64_t per_word = 32 / bits, tile_rows = shape.columns / 32;
  at::Tensor kept = at::zeros({shape.columns / 2, shape.rows}, at::kChar);
  int8_t* out = kept.mutable_data_ptr<int8_t>();
  for (int64_t t = 0; t < tile_rows; ++t) {
    for (int64_t i = 0; i < shape.rows * 16; ++i) {
      const uint32_t word = uint32_t(words[(t * shape.rows * 16 + i) / per_word]);
      const int code = int(word >> i % per_word * bits & ((1u << bits) - 1)) - (1 << (bits - 1));
      const int64_t element = i - i % kRun + permutation[size_t(i % kRun)];
      out[(16 * t + element % 256 / 16) * shape.rows + 16 * (element / 256) + element % 16] = int8_t(code);
    }
  }
  return kept;
}

// Where the metadata of row r's columns 16 c .. 16 c + 15 lies.
int64_t meta_position(int64_t r, int64_t c, int64_t rows) {
  int64_t row = r / 64 * 64 + r % 2 * 2 + r % 8 / 4 + r % 4 / 2 * 32 + r % 64 / 8 * 4, column = c;
  if (row % 2 == 0 && column % 2 == 1) {
    ++row, --column;
  } else if (row % 2 == 1 && column % 2 == 0) {
    --row, ++column;
  }
  return column / 2 * 2 * rows + 2 * row + column % 2;
}

// The kept codes back in their columns, the others 0.
at::Tensor spread_codes(const at::Tensor& kept, const at::Tensor& meta, Shape shape) {
  const int8_t* from = kept.const_data_ptr<int8_t>();
  const int16_t* words = meta.const_data_ptr<int16_t>();
  at::Tensor codes_OI = at::zeros({shape.rows, shape.columns}, at::kChar);
  int8_t* out = codes_OI.mutable_data_ptr<int8_t>();
  for (int64_t r = 0; r < shape.rows; ++r) {
    for (int64_t four = 0; four < shape.columns / 4; ++four) {
      const unsigned pair = unsigned(uint16_t(words[meta_position(r, four / 4, shape.rows)])) >> four % 4 * 4;
      const int64_t first = pair & 3, second = pair >> 2 & 3;
      SWAGE_CHECK(first < second, CorruptData, "meta: row ", r, " keeps columns ", first, " and ", second, " of four");
      out[r * shape.columns + 4 * four + first] = from[2 * four * shape.rows + r];
      out[r * shape.columns + 4 * four + second] = from[(2 * four + 1) * shape.rows + r];
    }
  }
  return codes_OI;
}

// [O, G] out of the stored [G, O].
at::Tensor read_scale(const scheme::QuantizationArgs& args, const TensorLookup& lookup, Shape shape) {
  const int64_t size = args.strategy == scheme::Strategy::Group ? args.group_size.value_or(0) : shape.columns;
  SWAGE_CHECK(size > 0 && shape.columns % size == 0, CorruptData, "scale_packed: ", shape.columns,
              " columns do not split into groups of ", size);
  const at::Tensor stored_GO =
      stored(lookup, "scale_packed", {at::kHalf, at::kBFloat16, at::kFloat}, {shape.columns / size, shape.rows});
  if (args.strategy != scheme::Strategy::Group || size >= shape.columns / 2) return stored_GO.t().contiguous();
  constexpr std::array<int64_t, 8> kOrder = {0, 4, 1, 5,
                                             2, 6, 3, 7};  // column 8 i + j of a run is stored where this says
  at::Tensor scale_GO = at::empty_like(stored_GO);
  for (int64_t c = 0; c < shape.rows; ++c)
    scale_GO.select(1, c - c % 8 + kOrder[size_t(c % 8)]).copy_(stored_GO.select(1, c));
  return scale_GO.t().contiguous();
}

}  // namespace

std::vector<io::TensorSpec> specs(const scheme::QuantizationArgs&, int64_t, int64_t, io::Dtype) { refuse(); }

std::vector<std::pair<std::string, at::Tensor>> pack(const scheme::QuantizationArgs&, const QuantizedWeight&) {
  refuse();
}

std::vector<int64_t> shape(const scheme::QuantizationArgs& args, const TensorLookup& lookup) {
  check_args(args);
  const Shape found = stored_shape(args, lookup);
  return {found.rows, found.columns};
}

QuantizedWeight unpack(const scheme::QuantizationArgs& args, const TensorLookup& lookup) {
  check_args(args);
  const Shape found = stored_shape(args, lookup);
  const at::Tensor meta = stored(lookup, "meta", {at::kShort}, {found.columns / 32, 2 * found.rows});
  QuantizedWeight weight;
  weight.scale_OG = read_scale(args, lookup, found);
  weight.codes_OI =
      spread_codes(kept_codes(args.num_bits, stored(lookup, "weight_packed", {at::kInt}), found), meta, found);
  return weight;
}

}  // namespace swage::format::marlin_24
