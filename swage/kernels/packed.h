// Kernels of products on stored codes: weights stay as narrow as they are in memory, activations become two planes of
// eight bits, sums are exact integers within a block of columns. What a row of the activations makes never depends on
// the rows beside it.
#pragma once
#include <cstdint>

#include "swage/kernels/number_format.h"

namespace swage::kernels {

// Rows of a weight that lie side by side in a panel.
inline constexpr int64_t kPackedRows = 16;
// Columns that a block is filled up to a multiple of, with codes of activations that are 0.
inline constexpr int64_t kPackedColumns = 8;
inline constexpr int64_t padded_block(int64_t block) {
  return (block + kPackedColumns - 1) / kPackedColumns * kPackedColumns;
}
// Bytes of codes ahead of those that are used, which are asked for: from memory one thread then reads twice as fast.
inline constexpr int64_t kPackedAhead = 4096;
// Longest block whose sums of 16-bit activations and 8-bit codes stay below 2^31.
inline constexpr int64_t kLongestPackedBlock = 256;
// Largest code of an activation: 256 * high + low with both in -127 .. 127 or -128.
inline constexpr float kLargestPlaneCode = 32639.0f;

// The scale of a block whose largest magnitude is this; 0 for values whose squares vanish in f32.
SWAGE_HOST_DEVICE inline float plane_scale(float largest) {
  return largest < 1e-30f ? 0.0f : largest / kLargestPlaneCode;
}

// Activations as 16-bit fixed point, block by block: code = round(x / scale), scale = plane_scale(max|x|), which
// is stored as high = (code + 128) >> 8 and low = code - 256 * high. The scale of a block with a value that is not
// finite is NaN, its codes are 0.
struct SplitBlocks {
  const float* x;  // [count], count a multiple of block
  int64_t count;
  int64_t block;   // columns that share a scale
  int8_t* planes;  // [count / block, 2, padded_block(block)]: high, low; 0 behind the block
  float* scale;    // [count / block]
  int32_t* sum;    // [count / block]: of the codes
};

// What a stored code is: four bits 0 .. 15, two to a byte; FP4 E2M1, also two to a byte, which stands for twice its
// value plus kE2m1Zero; eight bits 0 .. 255.
enum class PackedCode { U4, E2M1, U8 };
inline constexpr int kE2m1Zero = 12;
inline constexpr int64_t code_bits(PackedCode kind) { return kind == PackedCode::U8 ? 8 : 4; }
// Twice the value of each E2M1 code, plus kE2m1Zero.
inline constexpr uint8_t kE2m1Table[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};
// Where the code of row o and column i of a padded block lies in its panel, counted in codes of eight bits; of four
// bits, in pairs of columns i and i + 4 of eight: the first in the low half of the byte.
inline constexpr int64_t packed_byte_u8(int64_t o, int64_t i) { return i / 4 * 4 * kPackedRows + o * 4 + i % 4; }
inline constexpr int64_t packed_byte_u4(int64_t o, int64_t i) { return i / 8 * 4 * kPackedRows + o * 4 + i % 4; }
inline constexpr bool is_high_half(int64_t i) { return i % 8 >= 4; }

// out = x W^T for rows of x in planes and whole panels of W: per block an exact sum of (code of x) (code - zero), made
// f32, times (scale of x * factor) * scale of W, added by fma to the f32 sum of the blocks before it.
struct PackedProduct {
  int64_t rows;          // of x
  int64_t blocks;        // of a row
  int64_t block;         // padded columns of one
  const int8_t* planes;  // [rows, blocks, 2, block]
  const float* x_scale;  // [rows, blocks]
  const int32_t* x_sum;  // [rows, blocks]
  PackedCode kind;
  const uint8_t* codes;  // [panels, blocks, block * kPackedRows * code_bits / 8], 64-byte aligned
  const void* scale;     // [panels, groups, kPackedRows]
  NumberFormat scale_format;
  float factor;             // of all scales
  const uint8_t* zero;      // [panels, groups, kPackedRows], or null: all are `zero_point`
  int zero_point;           //
  int64_t blocks_in_group;  // divides blocks
  float* out;               // [rows, outputs], rows out_stride apart
  int64_t out_stride;
  int64_t outputs;  // columns of out: all but the last panel are whole
  bool add;         // out += x W^T
};

// out = x W^T with the weight's rows as they are stored. A sum has 16 parts, of every 16th product each, made by fma;
// they are added in halves.
struct RowProduct {
  int64_t rows;
  int64_t columns;
  const float* x;      // [rows, columns]
  const void* weight;  // [outputs, columns]
  NumberFormat format;
  float* out;  // [rows, outputs], rows out_stride apart
  int64_t out_stride;
  int64_t outputs;
  bool add;
};

}  // namespace swage::kernels
