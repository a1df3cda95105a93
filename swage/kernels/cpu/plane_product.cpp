// Products of planes of bytes on AMX: a tile of 16 tokens x 16 outputs of int32 for the high and one for the low bytes
// of the activations, which go to f32 sums in registers after each block of columns.
#include "swage/kernels/kernels.h"

#include <algorithm>

#include "swage/kernels/cpu/tiles.h"
#include "swage/kernels/cpu/versions.h"

namespace swage::kernels {

#if defined(__x86_64__)
namespace {

// Rows whose sums are kept at once, and columns of which x and a panel of the weight fit the L1 cache.
constexpr int64_t kRowsTogether = 128, kColumnsTogether = 640;

// What one tile of outputs multiplies. Tiles 0 to 3 are sums of the high and the low bytes, of one block and of the
// next, 4 and 5 these bytes, 6 and 7 the weight and its rest.
struct Steps {
  const uint8_t* x;
  const int8_t* weight;
  const int8_t* rest;
  int64_t steps, step;  // of a block, columns of one
};

#define SWAGE_MULTIPLY_BLOCK(HIGH, LOW)                               \
  _tile_zero(HIGH);                                                   \
  _tile_zero(LOW);                                                    \
  for (int64_t i = block * s.steps; i < (block + 1) * s.steps; ++i) { \
    _tile_loadd(6, s.weight + i * bytes, kTileBytes);                 \
    _tile_loadd(5, s.x + i * 2 * bytes, s.step);                      \
    _tile_loadd(4, s.x + (i * 2 + 1) * bytes, s.step);                \
    _tile_dpbssd(HIGH, 4, 6);                                         \
    _tile_dpbusd(LOW, 5, 6);                                          \
    if (s.rest == nullptr) continue;                                  \
    _tile_loadd(7, s.rest + i * bytes, kTileBytes);                   \
    _tile_dpbssd(HIGH, 4, 7);                                         \
    _tile_dpbusd(LOW, 5, 7);                                          \
  }                                                                   \
  _tile_stored(HIGH, high, kTileBytes);                               \
  _tile_stored(LOW, low, kTileBytes);

SWAGE_TILES inline void multiply_block(const Steps& s, int64_t block, int32_t* high, int32_t* low) {
  const int64_t bytes = s.step * kTileRows;
  if (block % 2 == 0) {
    SWAGE_MULTIPLY_BLOCK(0, 1)
  } else {
    SWAGE_MULTIPLY_BLOCK(2, 3)
  }
}
#undef SWAGE_MULTIPLY_BLOCK

using Integers = int32_t __attribute__((vector_size(64)));
using Floats = float __attribute__((vector_size(64)));

// One row's sums of a block, both scales on it, added.
SWAGE_TILES inline __m512 add_row(const int32_t* high, const int32_t* low, float x_scale, __m512 weight_scale,
                                  __m512 sum) {
  const Integers whole = *reinterpret_cast<const Integers*>(high) * 256 + *reinterpret_cast<const Integers*>(low);
  const __m512 exact = reinterpret_cast<__m512>(__builtin_convertvector(whole, Floats));
  return _mm512_fmadd_ps(exact, _mm512_mul_ps(_mm512_set1_ps(x_scale), weight_scale), sum);
}

struct Sums {
  const float* x_scale;       // of the first block, kTileRows apart
  const float* weight_scale;  // the same, kPanel apart
  float* sum;                 // rows kPanel apart
};

// 16 tokens x 16 outputs over `blocks` blocks. The products of a block run while the sums of the one before are added.
SWAGE_TILES void whole_tile(const Steps& steps, int64_t blocks, const Sums& s) {
  alignas(64) int32_t high[2][kTileRows * 16], low[2][kTileRows * 16];
  __m512 sum[kTileRows];
#pragma GCC unroll 16
  for (int64_t r = 0; r < kTileRows; ++r) sum[r] = _mm512_load_ps(s.sum + r * kPanel);
  multiply_block(steps, 0, high[0], low[0]);
  for (int64_t b = 0; b < blocks; ++b) {
    if (b + 1 < blocks) multiply_block(steps, b + 1, high[(b + 1) % 2], low[(b + 1) % 2]);
    const __m512 weight_scale = _mm512_load_ps(s.weight_scale + b * kPanel);
    const float* x_scale = s.x_scale + b * kTileRows;
#pragma GCC unroll 16
    for (int64_t r = 0; r < kTileRows; ++r) {
      sum[r] = add_row(high[b % 2] + r * 16, low[b % 2] + r * 16, x_scale[r], weight_scale, sum[r]);
    }
  }
#pragma GCC unroll 16
  for (int64_t r = 0; r < kTileRows; ++r) _mm512_store_ps(s.sum + r * kPanel, sum[r]);
}

// The same for fewer tokens.
SWAGE_TILES void part_of_tile(const Steps& steps, int64_t blocks, const Sums& s, int64_t rows) {
  alignas(64) int32_t high[kTileRows * 16], low[kTileRows * 16];
  for (int64_t b = 0; b < blocks; ++b) {
    multiply_block(steps, b, high, low);
    const __m512 weight_scale = _mm512_load_ps(s.weight_scale + b * kPanel);
    const float* x_scale = s.x_scale + b * kTileRows;
    for (int64_t r = 0; r < rows; ++r) {
      float* sum = s.sum + r * kPanel;
      _mm512_store_ps(sum, add_row(high + r * 16, low + r * 16, x_scale[r], weight_scale, _mm512_load_ps(sum)));
    }
  }
}

SWAGE_TILES void write_row(const PlaneProduct& p, const float* sum, float* out) {
  for (int64_t o = 0; o < p.outputs; o += 16) {
    const __mmask16 mask = static_cast<__mmask16>((1u << std::min<int64_t>(16, p.outputs - o)) - 1);
    __m512 value = _mm512_load_ps(sum + o);
    if (p.add) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, out + o));
    _mm512_mask_storeu_ps(out + o, mask, value);
  }
}

SWAGE_TILES void shape_for(int64_t rows, int64_t step) {
  TileShapes shapes;
  for (const int tile : {0, 1, 2, 3}) shapes.set(tile, rows, kTileBytes);
  for (const int tile : {4, 5}) shapes.set(tile, rows, step);
  for (const int tile : {6, 7}) shapes.set(tile, step / 4, kTileBytes);
  shape_tiles(shapes);
}

// Rows [first, first + rows), all in whole tiles but for those of the last one.
SWAGE_TILES void some_rows(const PlaneProduct& p, int64_t first, int64_t rows) {
  alignas(64) float sum[kRowsTogether * kPanel] = {};
  const int64_t blocks = p.columns / p.block, step = tile_step(p.block), tiles = (p.outputs + 15) / 16,
                parts = (p.columns + kColumnsTogether - 1) / kColumnsTogether, together = (blocks + parts - 1) / parts,
                whole = rows / kTileRows * kTileRows;
  for (int64_t b = 0; b < blocks; b += together) {
    const int64_t count = std::min(together, blocks - b);
    for (int64_t r = 0; r < rows; r += kTileRows) {
      if (r == 0 || r == whole) shape_for(std::min(kTileRows, rows - r), step);
      for (int64_t t = 0; t < tiles; ++t) {
        const int64_t from = t * kTileRows * p.columns + b * p.block * kTileRows;
        const Steps steps{p.x + (first + r) * 2 * p.columns + b * p.block * 2 * kTileRows, p.weight + from,
                          p.rest == nullptr ? nullptr : p.rest + from, p.block / step, step};
        const Sums sums{p.x_scale + ((first + r) * blocks + b * kTileRows), p.weight_scale + b * kPanel + t * 16,
                        sum + r * kPanel + t * 16};
        if (r < whole)
          whole_tile(steps, count, sums);
        else
          part_of_tile(steps, count, sums, rows - whole);
      }
    }
  }
  for (int64_t r = 0; r < rows; ++r) write_row(p, sum + r * kPanel, p.out + (first + r) * p.out_stride);
}

}  // namespace

SWAGE_TILES void plane_product_fast(const PlaneProduct& p) {
  if (!multiplies_tiles()) return plain_kernels().plane_product(p);
  for (int64_t r = 0; r < p.rows; r += kRowsTogether) some_rows(p, r, std::min(kRowsTogether, p.rows - r));
  _tile_release();  // a thread without tiles is cheaper to switch
}
#else
void plane_product_fast(const PlaneProduct& p) { plain_kernels().plane_product(p); }
#endif

}  // namespace swage::kernels
