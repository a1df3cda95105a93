// A linear layer on its weight as it is stored: codes of up to 8 bits in panels, or rows of 16-bit floats. Decoding
// reads weights and little else, so that it runs as fast as they can be read; a quarter or an eighth of what float32
// takes. Activations of codes are 16-bit fixed point, |error| <= 2^-16 of a block's largest value, sums of a block
// exact. Each row of the result has the same bits whatever rows are multiplied beside it.
//
// T tokens, O output rows, I input columns, G groups of columns, B blocks that share a scale of the activations.
#pragma once
#include <ATen/core/Tensor.h>

#include <optional>
#include <span>

#include "swage/kernels/packed.h"

namespace swage::ops {

// A quantized weight: (code - zero point) * scale.
struct PackedCodes {
  at::Tensor
      codes_OI;  // int8 of `bits` bits; uint8 with one E2M1 code an element, then `bits` is 4 and nothing is zero
  int bits = 8;
  at::Tensor scale_OG;       // any float type; f32 [1]: of all
  at::Tensor zero_point_OG;  // int8, or undefined
  at::Tensor group_I;        // int32 group of each column; undefined: consecutive columns
  double factor = 1;         // of all scales
};

// What several linears make of one input that they read.
struct PackedInput {
  at::Tensor x_TI;                         // f32, contiguous; columns in the weight's order
  at::Tensor planes_TC, scale_TB, sum_TB;  // of kernels::SplitBlocks; undefined for rows of floats
  int64_t block = 0;                       // columns that share a scale; 0 for rows of floats
  bool ordered = false;                    // columns are in an order of one weight's own
};

class PackedLinear {
 public:
  // Nothing if this form does not serve: groups without a divisor of 8 to 128, columns of a group in uneven number,
  // another type of codes. 2 and 3 bits are kept in 4, 5 to 7 in 8.
  static std::optional<PackedLinear> of_codes(const PackedCodes& weight);
  // f32, bf16 or f16 [O, I], kept as it is. Nothing for other types.
  static std::optional<PackedLinear> of_rows(const at::Tensor& weight_OI);

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  int64_t block() const { return block_; }
  int64_t weight_bytes() const;  // that a product reads

  // x f32 [T, I].
  PackedInput input(const at::Tensor& x_TI) const;
  // Whether what another linear made of the same x is what this one would.
  bool reads(const PackedInput& x) const { return x.block == block_ && !x.ordered && !order_I_.defined(); }

  // out [T, O] (rows may be apart, columns contiguous) = x W^T, or += with `add`.
  void multiply(const PackedInput& x, at::Tensor& out_TO, bool add) const;

 private:
  friend void multiply_together(std::span<const PackedLinear* const> linears, const PackedInput& x,
                                std::span<at::Tensor> outs_TO, bool add);
  void check(const PackedInput& x, const at::Tensor& out_TO) const;
  // Outputs [first, end), `first` the beginning of a panel.
  void run(const PackedInput& x, at::Tensor& out_TO, int64_t first, int64_t end, bool add) const;
  kernels::PackedProduct product(const PackedInput& x, int64_t first) const;

  int64_t rows_ = 0, columns_ = 0, block_ = 0, groups_ = 0;
  kernels::PackedCode kind_ = kernels::PackedCode::U8;
  kernels::NumberFormat format_ = kernels::NumberFormat::F32;  // of the scales, or of the rows
  int zero_point_ = 0;
  float factor_ = 1;
  at::Tensor weight_;   // uint8 [panels, blocks, bytes of a block], or [O, I]
  at::Tensor scale_;    // [panels, groups, kPackedRows] in the narrowest format that holds all
  at::Tensor zero_;     // uint8 [panels, groups, kPackedRows]; undefined: all are zero_point_
  at::Tensor order_I_;  // int64 column of the input that stands at each place of the weight; undefined: as they are
};

// Products of several linears that read one input, divided among threads together.
void multiply_together(std::span<const PackedLinear* const> linears, const PackedInput& x,
                       std::span<at::Tensor> outs_TO, bool add);

}  // namespace swage::ops
