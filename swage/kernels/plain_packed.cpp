#include "swage/kernels/plain_packed.h"

#include <algorithm>
#include <cmath>

namespace swage::kernels {
namespace {

int code_of(const PackedProduct& p, const uint8_t* block, int64_t o, int64_t i) {
  if (p.kind == PackedCode::U8) return block[packed_byte_u8(o, i)];
  const int byte = block[packed_byte_u4(o, i)], code = is_high_half(i) ? byte >> 4 : byte & 15;
  return p.kind == PackedCode::E2M1 ? kE2m1Table[code] : code;
}

// The exact sum of one block.
int32_t block_sum(const PackedProduct& p, int64_t row, int64_t output, int64_t block) {
  const int64_t bytes = p.block * kPackedRows * code_bits(p.kind) / 8, panel = output / kPackedRows,
                o = output % kPackedRows, groups = p.blocks / p.blocks_in_group;
  const uint8_t* codes = p.codes + (panel * p.blocks + block) * bytes;
  const int8_t* x = p.planes + (row * p.blocks + block) * 2 * p.block;
  const int zero =
      p.zero == nullptr ? p.zero_point : p.zero[(panel * groups + block / p.blocks_in_group) * kPackedRows + o];
  int64_t sum = 0;
  for (int64_t i = 0; i < p.block; ++i) sum += (256 * x[i] + x[p.block + i]) * (code_of(p, codes, o, i) - zero);
  return static_cast<int32_t>(sum);
}

}  // namespace

void split_blocks(const SplitBlocks& s) {
  const int64_t padded = padded_block(s.block);
  for (int64_t b = 0; b < s.count / s.block; ++b) {
    const float* x = s.x + b * s.block;
    int8_t *high = s.planes + 2 * b * padded, *low = high + padded;
    float largest = 0, bad = 0;
    for (int64_t i = 0; i < s.block; ++i) {
      largest = std::max(largest, std::fabs(x[i]));
      bad += x[i] - x[i];  // NaN if x is NaN or infinite
    }
    const float scale = plane_scale(largest), inverse = scale == 0 || bad != 0 ? 0 : 1 / scale;
    s.scale[b] = scale + bad;
    s.sum[b] = 0;
    for (int64_t i = 0; i < padded; ++i) {
      const int code = i < s.block && inverse != 0 ? static_cast<int>(std::nearbyint(x[i] * inverse)) : 0;
      const int upper = (code + 128) >> 8;
      high[i] = static_cast<int8_t>(upper);
      low[i] = static_cast<int8_t>(code - 256 * upper);
      s.sum[b] += code;
    }
  }
}

void packed_product(const PackedProduct& p) {
  const int64_t groups = p.blocks / p.blocks_in_group;
  for (int64_t r = 0; r < p.rows; ++r) {
    for (int64_t output = 0; output < p.outputs; ++output) {
      float sum = 0;
      for (int64_t b = 0; b < p.blocks; ++b) {
        const int64_t at = (output / kPackedRows * groups + b / p.blocks_in_group) * kPackedRows + output % kPackedRows;
        const float scale = p.x_scale[r * p.blocks + b] * p.factor * load_as_float(p.scale, p.scale_format, at);
        sum = std::fma(static_cast<float>(block_sum(p, r, output, b)), scale, sum);
      }
      float& out = p.out[r * p.out_stride + output];
      out = p.add ? out + sum : sum;
    }
  }
}

void row_product(const RowProduct& p) {
  constexpr int64_t kParts = 16;
  for (int64_t r = 0; r < p.rows; ++r) {
    for (int64_t o = 0; o < p.outputs; ++o) {
      float part[kParts] = {};
      for (int64_t i = 0; i < p.columns; ++i)
        part[i % kParts] =
            std::fma(p.x[r * p.columns + i], load_as_float(p.weight, p.format, o * p.columns + i), part[i % kParts]);
      for (int64_t half = kParts / 2; half > 0; half /= 2)
        for (int64_t i = 0; i < half; ++i) part[i] += part[i + half];
      float& out = p.out[r * p.out_stride + o];
      out = p.add ? out + part[0] : part[0];
    }
  }
}

}  // namespace swage::kernels
