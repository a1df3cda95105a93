// A linear layer on its integer weight codes: activations in 16-bit blocks, exact integer sums, f32 results: the same
// bits on every processor with fused multiply-add. With dot-product instructions twice as fast as the f32 product of
// the dequantized weight, from a quarter of the memory traffic; on tiles of bytes (AMX) several times as fast again.
//
// T tokens, O output rows, I input columns, G groups of columns.
#pragma once
#include <ATen/core/Tensor.h>

#include <optional>

namespace swage::ops {

// Activations [T, I] as int16 with one scale per token and block of columns: |error| <= 2^-16 of the block's largest
// value.
struct IntegerInput {
  int64_t tokens = 0, columns = 0;
  int64_t block = 0;  // columns per scale
  at::Tensor codes;   // int16 [T, I], or on_tiles() as kernels::QuantizePlanes lays them out
  at::Tensor scale;   // f32, the same
};

class IntegerLinear {
 public:
  // Codes int8 or uint8 [O, I]; scales [O, G] of any float type; zero points int8 or uint8 [O, G], or undefined. Groups
  // are I/G consecutive columns. Nothing if this form does not serve: not on the CPU, or a group without an even
  // divisor.
  static std::optional<IntegerLinear> make(const at::Tensor& codes_OI, const at::Tensor& scale_OG,
                                           const at::Tensor& zero_point_OG);

  // x: contiguous f32 [T, I] -> its blocks. Linears of the same block() share them.
  static IntegerInput quantize(const at::Tensor& x_TI, int64_t block);
  int64_t block() const { return block_; }

  // out [T, O] (rows may be apart, columns contiguous) = x W^T, or += with `add`.
  void multiply(const IntegerInput& x, at::Tensor& out_TO, bool add) const;

 private:
  void run_panel(const IntegerInput& x, int64_t panel, int64_t first, int64_t count, at::Tensor& out_TO,
                 bool add) const;

  int64_t rows_ = 0, columns_ = 0, block_ = 0;
  at::Tensor weight_;  // int16 [panels, I / 2, kPanel, 2], or on tiles int8 [panels, I * kPanel]
  at::Tensor rest_;    // on tiles where a code less its zero point needs more than 8 bits: int8, added; or undefined
  at::Tensor scale_;   // f32 [panels, blocks, kPanel]
};

}  // namespace swage::ops
