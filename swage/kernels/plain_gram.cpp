#include "swage/kernels/plain_gram.h"

#include <cmath>

namespace swage::kernels {
namespace {

// Where a code lies from the first panel on: its place among pairs, or that of its low byte among planes.
int64_t pair_place(int64_t t, int64_t c) {
  return (c / kPanel * (kGramChunk / 2) + t / 2) * kPanel * 2 + c % kPanel * 2 + t % 2;
}
constexpr int64_t kPlane = kTileRows * kTileBytes;
int64_t plane_place(int64_t t, int64_t c) {
  return (c / kTileRows * (kGramChunk / kTileBytes) + t / kTileBytes) * 2 * kPlane +
         (t % kTileBytes / 4 * kTileRows + c % kTileRows) * 4 + t % 4;
}

int64_t whole(int64_t count, int64_t step) { return (count + step - 1) / step * step; }

// Calls put(token, column, code) for all codes, with zeros up to whole panels and whole steps of tokens.
template <class Put>
void pack_codes(const GramPack& pack, int64_t step, const Put& put) {
  for (int64_t c = 0; c < whole(pack.columns, kPanel); ++c) {
    const auto x = [&](int64_t t) { return c < pack.columns && t < pack.tokens ? pack.x[t * pack.stride + c] : 0.0f; };
    float squares = 0;
    for (int64_t t = 0; t < pack.tokens; ++t) squares += x(t) * x(t);
    const bool finite = std::isfinite(squares);
    const int exponent = finite ? gram_exponent(squares) : 0;
    pack.scale[c] = finite ? std::ldexp(1.0, exponent) : double{NAN};
    for (int64_t t = 0; t < whole(pack.tokens, step); ++t) {
      const float code = finite ? std::nearbyint(x(t) * std::ldexp(1.0f, -exponent)) : 0.0f;
      put(t, c, static_cast<int16_t>(std::clamp(code, -32768.0f, 32767.0f)));
    }
  }
}

// `code(chunk, token, column)` of the whole matrix.
template <class Code>
void add_products(const GramTile& tile, const Code& code) {
  const int64_t row0 = tile.row_panel * kPanel, column0 = tile.column_panel * kPanel,
                stride = tile.column_panels * kPanel, width = tile.panels * kPanel;
  for (int64_t r = 0; r < tile.row_panels * kPanel; ++r) {
    for (int64_t c = std::max<int64_t>(0, row0 + r - column0); c < stride; ++c) {
      for (int64_t first = 0; first < tile.tokens; first += kGramChunk) {
        const int64_t chunk = first / kGramChunk;
        int64_t exact = 0;
        for (int64_t t = 0; t < std::min(kGramChunk, tile.tokens - first); ++t)
          exact += code(chunk, t, row0 + r) * code(chunk, t, column0 + c);
        const double* scale = tile.scale + chunk * width;
        tile.sum[r * stride + c] += static_cast<double>(exact) * (scale[row0 + r] * scale[column0 + c]);
      }
    }
  }
}

}  // namespace

void gram_pack(const GramPack& pack) {
  int16_t* packed = static_cast<int16_t*>(pack.packed);
  pack_codes(pack, 2, [&](int64_t t, int64_t c, int16_t code) { packed[pair_place(t, c)] = code; });
}

void gram_tile(const GramTile& tile) {
  const int16_t* packed = static_cast<const int16_t*>(tile.packed);
  add_products(tile, [&](int64_t chunk, int64_t t, int64_t c) {
    return int64_t{packed[chunk * tile.panels * kPanel * kGramChunk + pair_place(t, c)]};
  });
}

void gram_pack_planes(const GramPack& pack) {
  uint8_t* packed = static_cast<uint8_t*>(pack.packed);
  pack_codes(pack, kTileBytes, [&](int64_t t, int64_t c, int16_t code) {
    packed[plane_place(t, c)] = static_cast<uint8_t>(code & 255);
    packed[plane_place(t, c) + kPlane] = static_cast<uint8_t>(code >> 8);
  });
}

void gram_plane_tile(const GramTile& tile) {
  const uint8_t* packed = static_cast<const uint8_t*>(tile.packed);
  add_products(tile, [&](int64_t chunk, int64_t t, int64_t c) {
    const uint8_t* low = packed + chunk * tile.panels * kGramPanelBytes + plane_place(t, c);
    return int64_t{static_cast<int8_t>(low[kPlane])} * 256 + low[0];
  });
}

}  // namespace swage::kernels
