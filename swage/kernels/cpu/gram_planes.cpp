// The Gram matrix of planes of bytes on AMX: four products of 16 x 16 columns over 64 tokens, high and low bytes with
// each other, whose three int32 sums over a chunk are put together and go to f64.
#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "swage/kernels/cpu/tiles.h"
#include "swage/kernels/cpu/versions.h"
#include "swage/kernels/kernels.h"

namespace swage::kernels {

#if defined(__x86_64__)
namespace {

constexpr int64_t kPlane = kTileRows * kTileBytes, kSteps = kGramChunk / kTileBytes,
                  kTile = kSteps * 2 * kPlane;  // of 16 columns
constexpr int64_t kPanelTiles = kPanel / kTileRows;

using Bits = uint32_t __attribute__((vector_size(64)));
using Integers = int32_t __attribute__((vector_size(64)));
using Half = int32_t __attribute__((vector_size(32)));
using Doubles = double __attribute__((vector_size(64)));
using Floats = float __attribute__((vector_size(64)));

// A tile of the result: what is multiplied, and where its sums go.
struct Pair {
  const uint8_t* rows;     // [step][low, high][row][token]
  const uint8_t* columns;  // as packed
  const double* row_scale;
  const double* column_scale;
  double* sum;
};

// Sums over a chunk: of high times high, of the mixed products, of low times low bytes.
struct alignas(64) Sums {
  int32_t high[256], mixed[256], low[256];
};

SWAGE_TILES inline void multiply(const Pair& pair, int64_t steps, Sums& out) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  for (int64_t s = 0; s < steps; ++s) {
    const uint8_t* a = pair.rows + s * 2 * kPlane;
    const uint8_t* b = pair.columns + s * 2 * kPlane;
    _tile_loadd(3, a, kTileBytes);
    _tile_loadd(5, b, kTileBytes);
    _tile_loadd(4, a + kPlane, kTileBytes);
    _tile_loadd(6, b + kPlane, kTileBytes);
    _tile_dpbuud(2, 3, 5);
    _tile_dpbsud(1, 4, 5);
    _tile_dpbssd(0, 4, 6);
    _tile_dpbusd(1, 3, 6);
  }
  _tile_stored(0, out.high, kTileBytes);
  _tile_stored(1, out.mixed, kTileBytes);
  _tile_stored(2, out.low, kTileBytes);
}

SWAGE_TILES inline void add_half(Half exact, Doubles scale, double* to) {
  const __m512d sum = _mm512_load_pd(to);
  _mm512_store_pd(to, _mm512_fmadd_pd(reinterpret_cast<__m512d>(__builtin_convertvector(exact, Doubles)),
                                      reinterpret_cast<__m512d>(scale), sum));
}

// The whole sum is below 2^31, so its parts may overflow on the way.
SWAGE_TILES inline void add_to_f64(const Sums& in, const Pair& pair, int64_t stride) {
  const Doubles* column_scale = reinterpret_cast<const Doubles*>(pair.column_scale);
  const Doubles first = column_scale[0], second = column_scale[1];
  const Bits* high = reinterpret_cast<const Bits*>(in.high);
  const Bits* mixed = reinterpret_cast<const Bits*>(in.mixed);
  const Bits* low = reinterpret_cast<const Bits*>(in.low);
#pragma GCC unroll 4
  for (int64_t r = 0; r < kTileRows; ++r) {
    const Bits whole = (((high[r] << 8) + mixed[r]) << 8) + low[r];
    const Half lower = reinterpret_cast<Half>(__builtin_shufflevector(whole, whole, 0, 1, 2, 3, 4, 5, 6, 7)),
               upper = reinterpret_cast<Half>(__builtin_shufflevector(whole, whole, 8, 9, 10, 11, 12, 13, 14, 15));
    double* to = pair.sum + r * stride;
    add_half(lower, first * pair.row_scale[r], to);
    add_half(upper, second * pair.row_scale[r], to + 8);
  }
}

// One token of 16 columns, of which `there` says which exist.
SWAGE_TILES inline Floats token(const GramPack& pack, int64_t t, int64_t column, __mmask16 there) {
  return reinterpret_cast<Floats>(_mm512_maskz_loadu_ps(there, pack.x + t * pack.stride + column));
}

// How 16 columns become codes.
struct Columns {
  int64_t first;
  __mmask16 there;
  Floats factor;  // 1 / scale
  Bits finite;    // all bits, or none where a value is not
};

SWAGE_TILES inline Columns scale_columns(const GramPack& pack, int64_t first) {
  const int64_t count = std::clamp<int64_t>(pack.columns - first, 0, 16);
  Columns out{first, static_cast<__mmask16>((1u << count) - 1), {}, {}};
  Floats squares = {};
  for (int64_t t = 0; t < pack.tokens; ++t) {
    const Floats x = token(pack, t, first, out.there);
    squares += x * x;
  }
  for (int i = 0; i < 16; ++i) {
    const bool finite = squares[i] - squares[i] == 0;
    const int exponent = finite ? gram_exponent(squares[i]) : 0;
    pack.scale[first + i] = finite ? std::bit_cast<double>(static_cast<uint64_t>(exponent + 1023) << 52) : NAN;
    out.factor[i] = std::bit_cast<float>(static_cast<uint32_t>(127 - exponent) << 23);
    out.finite[i] = finite ? ~0u : 0u;
  }
  return out;
}

// Codes of one token, from -2^15 to 2^15 - 1. Adding 1.5 * 2^23 rounds what is below 2^22, ties to even.
SWAGE_TILES inline Bits token_codes(const GramPack& pack, int64_t t, const Columns& c) {
  if (t >= pack.tokens) return Bits{};
  constexpr float kRound = 0x1.8p23f;
  const Floats rounded = token(pack, t, c.first, c.there) * c.factor + kRound;
  Integers code = reinterpret_cast<Integers>(rounded) - std::bit_cast<int32_t>(kRound);
  code = code > 32767 ? Integers{} + 32767 : code;
  code = code < -32768 ? Integers{} - 32768 : code;
  return reinterpret_cast<Bits>(code) & c.finite;
}

// Lanes that have bit S of v[i] and those that have not of v[i + S] change places.
template <size_t S, size_t... Lane>
SWAGE_TILES inline void exchange(Bits (&v)[16], std::index_sequence<Lane...>) {
#pragma GCC unroll 16
  for (size_t i = 0; i < 16; ++i) {
    if ((i & S) != 0) continue;
    const Bits first = v[i], second = v[i + S];
    v[i] = __builtin_shufflevector(first, second, ((Lane & S) != 0 ? Lane - S + 16 : Lane)...);
    v[i + S] = __builtin_shufflevector(first, second, ((Lane & S) != 0 ? Lane + 16 : Lane + S)...);
  }
}

// Rows become columns: v[i][j] and v[j][i] change places.
SWAGE_TILES inline void transpose(Bits (&v)[16]) {
  constexpr std::make_index_sequence<16> kLanes;
  exchange<8>(v, kLanes);
  exchange<4>(v, kLanes);
  exchange<2>(v, kLanes);
  exchange<1>(v, kLanes);
}

// 64 tokens of 16 columns.
SWAGE_TILES void pack_step(const GramPack& pack, const Columns& c, int64_t first, Bits* low, Bits* high) {
  for (int64_t q = 0; q < kTileBytes / 4; ++q, first += 4) {
    const Bits a = token_codes(pack, first, c), b = token_codes(pack, first + 1, c),
               d = token_codes(pack, first + 2, c), e = token_codes(pack, first + 3, c);
    low[q] = (a & 255) | (b & 255) << 8 | (d & 255) << 16 | e << 24;
    high[q] = (a >> 8 & 255) | (b & 0xFF00) | (d & 0xFF00) << 8 | (e & 0xFF00) << 16;
  }
}

// 16 columns of a chunk as rows of the first factor.
SWAGE_TILES void lay_out_rows(const uint8_t* packed, int64_t steps, uint8_t* rows) {
  for (int64_t plane = 0; plane < 2 * steps; ++plane, packed += kPlane, rows += kPlane) {
    Bits quads[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) quads[i] = reinterpret_cast<const Bits*>(packed)[i];
    transpose(quads);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) reinterpret_cast<Bits*>(rows)[i] = quads[i];
  }
}

// The sums of a tile go to f64 while the next one is multiplied.
class Pipeline {
 public:
  explicit Pipeline(int64_t stride) : stride_(stride) {}
  SWAGE_TILES void run(const Pair& pair, int64_t steps) {
    multiply(pair, steps, sums_[now_]);
    finish();
    waiting_ = pair;
    now_ ^= 1;
  }
  SWAGE_TILES void finish() {
    if (waiting_.sum != nullptr) add_to_f64(sums_[now_ ^ 1], waiting_, stride_);
    waiting_.sum = nullptr;
  }

 private:
  Sums sums_[2];
  Pair waiting_ = {};
  int now_ = 0;
  int64_t stride_;
};

// One chunk's products: each 16 columns beside all rows that are not below them.
SWAGE_TILES void add_chunk(const GramTile& tile, int64_t chunk, int64_t steps, uint8_t* rows, Pipeline& pipeline) {
  const uint8_t* packed = static_cast<const uint8_t*>(tile.packed) + chunk * tile.panels * kGramPanelBytes;
  const double* scale = tile.scale + chunk * tile.panels * kPanel;
  const int64_t stride = tile.column_panels * kPanel, first_row = tile.row_panel * kPanelTiles,
                last_row = first_row + tile.row_panels * kPanelTiles, first = tile.column_panel * kPanelTiles;
  for (int64_t row = first_row; row < last_row; ++row)
    lay_out_rows(packed + row * kTile, steps, rows + (row - first_row) * kTile);
  for (int64_t column = first; column < first + tile.column_panels * kPanelTiles; ++column) {
    for (int64_t row = first_row; row < std::min(last_row, column + 1); ++row) {
      double* sum = tile.sum + (row - first_row) * kTileRows * stride + (column - first) * kTileRows;
      pipeline.run({rows + (row - first_row) * kTile, packed + column * kTile, scale + row * kTileRows,
                    scale + column * kTileRows, sum},
                   steps);
    }
  }
  pipeline.finish();
}

}  // namespace

SWAGE_TILES void gram_pack_planes_fast(const GramPack& pack) {
  if (!multiplies_tiles()) return plain_kernels().gram_pack_planes(pack);
  const int64_t width = (pack.columns + kPanel - 1) / kPanel * kPanel;
  uint8_t* to = static_cast<uint8_t*>(pack.packed);
  for (int64_t first = 0; first < width; first += kTileRows, to += kTile) {
    const Columns columns = scale_columns(pack, first);
    for (int64_t t = 0; t < pack.tokens; t += kTileBytes) {
      uint8_t* low = to + t / kTileBytes * 2 * kPlane;
      pack_step(pack, columns, t, reinterpret_cast<Bits*>(low), reinterpret_cast<Bits*>(low + kPlane));
    }
  }
}

SWAGE_TILES void gram_plane_tile_fast(const GramTile& tile) {
  if (!multiplies_tiles()) return plain_kernels().gram_plane_tile(tile);
  TileShapes shapes;
  for (int t = 0; t < 8; ++t) shapes.set(t, kTileRows, kTileBytes);
  shape_tiles(shapes);
  alignas(64) uint8_t rows[kGramMostRows * kPanelTiles * kTile];
  Pipeline pipeline(tile.column_panels * kPanel);
  for (int64_t t = 0; t < tile.tokens; t += kGramChunk) {
    const int64_t steps = (std::min(kGramChunk, tile.tokens - t) + kTileBytes - 1) / kTileBytes;
    add_chunk(tile, t / kGramChunk, steps, rows, pipeline);
  }
  _tile_release();
}
#else
void gram_pack_planes_fast(const GramPack& pack) { plain_kernels().gram_pack_planes(pack); }
void gram_plane_tile_fast(const GramTile& tile) { plain_kernels().gram_plane_tile(tile); }
#endif

}  // namespace swage::kernels
