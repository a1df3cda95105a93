// Products on packed codes on AMX: a tile of 16 tokens x 16 outputs of int32 for each plane of the activations, which
// go to f32 sums in registers after each block of columns: the same sums as without tiles.
#include "swage/kernels/kernels.h"

#include <algorithm>

#include "swage/kernels/cpu/tiles.h"
#include "swage/kernels/cpu/versions.h"

namespace swage::kernels {

#if defined(__x86_64__)
namespace {

constexpr int64_t kTileTokens = 16;   // of a tile
constexpr int64_t kTileBytes = 64;    // of a row of one
constexpr int64_t kTogether = 128;    // tokens whose sums are kept while a part of a panel is in the L1 cache
constexpr int64_t kMostBytes = 8192;  // of that part, a byte a code

using Integers = int32_t __attribute__((vector_size(64)));
using Floats = float __attribute__((vector_size(64)));

// Columns of one tile: the largest divisor of a block, a multiple of 4, that is at most kTileBytes; blocks are
// multiples of 8.
int64_t step_of(int64_t block) {
  int64_t step = std::min(block, kTileBytes);
  while (block % step != 0 || step % 4 != 0) --step;
  return step;
}

// Codes of whole blocks of a panel, one to a byte: [columns / 4, 16, 4].
SWAGE_TILES void spread(const PackedProduct& p, const uint8_t* codes, int64_t columns, uint8_t* to) {
  const __m512i mask = _mm512_set1_epi8(15);
  const __m512i table =
      _mm512_maskz_broadcast_i32x4(0xFFFF, _mm_loadu_si128(reinterpret_cast<const __m128i*>(kE2m1Table)));
  for (int64_t k = 0; k < columns; k += 8, codes += 64, to += 128) {
    const __m512i both = _mm512_load_si512(codes);
    __m512i first = _mm512_and_si512(both, mask),
            second = _mm512_and_si512(_mm512_maskz_srli_epi16(~0u, both, 4), mask);
    if (p.kind == PackedCode::E2M1) {
      first = _mm512_shuffle_epi8(table, first);
      second = _mm512_shuffle_epi8(table, second);
    }
    _mm512_store_si512(to, first);
    _mm512_store_si512(to + 64, second);
  }
}

// What one tile of tokens multiplies: `blocks` blocks of a panel.
struct Part {
  const uint8_t* codes;  // one to a byte
  const int8_t* planes;  // of the first token
  const float* x_scale;
  const int32_t* x_sum;
  int64_t first_block, blocks, step;
  int64_t lane;  // of the panel's first group in scales and zero points
};

SWAGE_TILES inline void multiply_block(const PackedProduct& p, const Part& part, int64_t b, int32_t* high,
                                       int32_t* low) {
  const int64_t stride = 2 * p.blocks * p.block;
  const uint8_t* codes = part.codes + b * p.block * kPackedRows;
  const int8_t* x = part.planes + (part.first_block + b) * 2 * p.block;
  _tile_zero(0);
  _tile_zero(1);
  for (int64_t k = 0; k < p.block; k += part.step) {
    _tile_loadd(4, codes + k * kPackedRows, kTileBytes);
    _tile_loadd(2, x + k, stride);
    _tile_loadd(3, x + p.block + k, stride);
    _tile_dpbsud(0, 2, 4);
    _tile_dpbsud(1, 3, 4);
  }
  _tile_stored(0, high, kTileBytes);
  _tile_stored(1, low, kTileBytes);
}

SWAGE_TILES inline __m512 scales_of(const PackedProduct& p, int64_t at) {
  if (p.scale_format == NumberFormat::F32) return _mm512_loadu_ps(static_cast<const float*>(p.scale) + at);
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(static_cast<const uint16_t*>(p.scale) + at));
  if (p.scale_format == NumberFormat::F16) return _mm512_maskz_cvtph_ps(0xFFFF, bits);
  return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xFFFF, _mm512_maskz_cvtepu16_epi32(0xFFFF, bits), 16));
}

// Sums of a block of `kRows` tokens, or of p.rows if that is 0, to f32.
template <int kRows>
SWAGE_TILES inline void add_sums(const PackedProduct& p, const Part& part, int64_t b, const int32_t* high,
                                 const int32_t* low, int64_t rows, __m512* sum) {
  const int64_t block = part.first_block + b, at = part.lane + block / p.blocks_in_group * kPackedRows;
  const __m512 scale = scales_of(p, at);
  const __m512i zero = p.zero == nullptr ? _mm512_set1_epi32(p.zero_point)
                                         : _mm512_maskz_cvtepu8_epi32(
                                               0xFFFF, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p.zero + at)));
  const auto add = [&](int64_t r) SWAGE_TILES {
    const int64_t place = r * p.blocks + block;
    const Integers whole = *reinterpret_cast<const Integers*>(high + r * 16) * 256 +
                           *reinterpret_cast<const Integers*>(low + r * 16) -
                           reinterpret_cast<Integers>(_mm512_mullo_epi32(zero, _mm512_set1_epi32(part.x_sum[place])));
    const __m512 exact = reinterpret_cast<__m512>(__builtin_convertvector(whole, Floats));
    const __m512 both = _mm512_mul_ps(_mm512_set1_ps(part.x_scale[place] * p.factor), scale);
    sum[r] = _mm512_fmadd_ps(exact, both, sum[r]);
  };
  if constexpr (kRows > 0) {
#pragma GCC unroll 16
    for (int64_t r = 0; r < kRows; ++r) add(r);
  } else {
    for (int64_t r = 0; r < rows; ++r) add(r);
  }
}

// Up to 16 tokens. The products of a block run while the sums of the one before are added.
template <int kRows>
SWAGE_TILES void one_tile(const PackedProduct& p, const Part& part, int64_t rows, __m512* sums) {
  alignas(64) int32_t high[2][kTileTokens * 16], low[2][kTileTokens * 16];
  __m512 sum[kTileTokens];
#pragma GCC unroll 16
  for (int64_t r = 0; r < kTileTokens; ++r) sum[r] = sums[r];
  multiply_block(p, part, 0, high[0], low[0]);
  for (int64_t b = 0; b < part.blocks; ++b) {
    if (b + 1 < part.blocks) multiply_block(p, part, b + 1, high[(b + 1) % 2], low[(b + 1) % 2]);
    add_sums<kRows>(p, part, b, high[b % 2], low[b % 2], rows, sum);
  }
#pragma GCC unroll 16
  for (int64_t r = 0; r < kTileTokens; ++r) sums[r] = sum[r];
}

SWAGE_TILES void shape_for(int64_t rows, int64_t step) {
  TileShapes shapes;
  for (const int tile : {0, 1}) shapes.set(tile, rows, kTileBytes);
  for (const int tile : {2, 3}) shapes.set(tile, rows, step);
  shapes.set(4, step / 4, kTileBytes);
  asm volatile("" ::"r"(&shapes) : "memory");  // the intrinsic names 8 of the 64 bytes that it reads
  shape_tiles(shapes);
}

SWAGE_TILES void write_row(const PackedProduct& p, int64_t panel, int64_t row, __m512 sum) {
  const int64_t left = p.outputs - panel * kPackedRows;
  const __mmask16 mask = left >= kPackedRows ? __mmask16(0xFFFF) : __mmask16((1u << left) - 1);
  float* out = p.out + row * p.out_stride + panel * kPackedRows;
  if (p.add) sum = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, out), sum);
  _mm512_mask_storeu_ps(out, mask, sum);
}

// Tokens [first, first + rows) of one panel; `shaped` is how many tokens the tiles have now.
SWAGE_TILES void some_tokens(const PackedProduct& p, int64_t panel, int64_t first, int64_t rows, int64_t step,
                             int64_t& shaped) {
  alignas(64) uint8_t spread_codes[kMostBytes];
  alignas(64) __m512 sums[kTogether] = {};
  const int64_t bytes = p.block * kPackedRows * code_bits(p.kind) / 8,
                together = std::max<int64_t>(1, kMostBytes / (p.block * kPackedRows));
  for (int64_t b = 0; b < p.blocks; b += together) {
    const int64_t count = std::min(together, p.blocks - b);
    const uint8_t* codes = p.codes + (panel * p.blocks + b) * bytes;
    if (p.kind != PackedCode::U8) spread(p, codes, count * p.block, spread_codes);
    Part part{p.kind == PackedCode::U8 ? codes : spread_codes,     nullptr, nullptr, nullptr, b, count, step,
              panel * (p.blocks / p.blocks_in_group) * kPackedRows};
    for (int64_t r = 0; r < rows; r += kTileTokens) {
      const int64_t tokens = std::min(kTileTokens, rows - r);
      if (tokens != shaped) shape_for(shaped = tokens, step);
      part.planes = p.planes + (first + r) * 2 * p.blocks * p.block;
      part.x_scale = p.x_scale + (first + r) * p.blocks;
      part.x_sum = p.x_sum + (first + r) * p.blocks;
      if (tokens == kTileTokens)
        one_tile<kTileTokens>(p, part, tokens, sums + r);
      else
        one_tile<0>(p, part, tokens, sums + r);
    }
  }
  for (int64_t r = 0; r < rows; ++r) write_row(p, panel, first + r, sums[r]);
}

}  // namespace

SWAGE_TILES void packed_product_tiles(const PackedProduct& p) {
  const int64_t step = step_of(p.block);
  int64_t shaped = 0;
  for (int64_t panel = 0; panel * kPackedRows < p.outputs; ++panel) {
    for (int64_t r = 0; r < p.rows; r += kTogether)
      some_tokens(p, panel, r, std::min(kTogether, p.rows - r), step, shaped);
  }
  _tile_release();  // a thread without tiles is cheaper to switch
}
#else
void packed_product_tiles(const PackedProduct& p) { plain_kernels().packed_product(p); }
#endif

}  // namespace swage::kernels
