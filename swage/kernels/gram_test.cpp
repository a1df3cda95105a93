// The kernels of the Gram matrix against their plain twins and the other form's, bit for bit: sums are exact.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "swage/kernels/kernels.h"
#include "swage/kernels/parity_test_support.h"

namespace swage::kernels {
namespace {

using Pack = void (*)(const GramPack&);
using Tile = void (*)(const GramTile&);

// Tokens with an outlier, a column of zeros, one of tiny values, and one that holds a NaN.
struct Tokens {
  int64_t tokens, columns;
  int64_t panels = (columns + kPanel - 1) / kPanel, chunks = (tokens + kGramChunk - 1) / kGramChunk;
  std::vector<float> x = std::vector<float>(static_cast<size_t>(tokens * columns));

  float& at(int64_t t, int64_t c) { return x[static_cast<size_t>(t * columns + c)]; }
  void fill() {
    fill_noise(x.data(), tokens * columns, 1);
    for (int64_t c = 0; c < columns; c += 5) at(tokens / 2, c) *= 1000;
    for (int64_t t = 0; t < tokens && columns > 40; ++t) {
      at(t, 7) = 0;
      at(t, 8) = 1e-30f * static_cast<float>(t);
      at(t, 9) = 1.0f;  // all codes alike
    }
    if (columns > 40) at(tokens - 1, 11) = NAN;
    at(tokens - 1, 0) = 3e4f;  // outweighs the others: its code is the largest there is
  }
};

struct Packed {
  Aligned<uint8_t> data;
  Aligned<double> scale;
  explicit Packed(const Tokens& t) : data(t.chunks * t.panels * kGramPanelBytes), scale(t.chunks * t.panels * kPanel) {}
  void fill(const Tokens& x, Pack pack) {
    for (int64_t c = 0; c < x.chunks; ++c) {
      pack({x.x.data() + c * kGramChunk * x.columns, x.columns, x.columns,
            std::min(kGramChunk, x.tokens - c * kGramChunk), data.data() + c * x.panels * kGramPanelBytes,
            scale.data() + c * x.panels * kPanel});
    }
  }
};

void expect_same_packs(Pack fast, Pack plain) {
  for (const auto& [tokens, columns] : {std::pair<int64_t, int64_t>{1, 1}, {9, 47}, {300, 101}, {513, 144}}) {
    Tokens x{tokens, columns};
    x.fill();
    Packed one(x), other(x);
    one.fill(x, fast);
    other.fill(x, plain);
    for (int64_t i = 0; i < x.chunks * x.panels * kGramPanelBytes; ++i)
      ASSERT_EQ(one.data[i], other.data[i]) << tokens << " x " << columns << ", byte " << i;
    for (int64_t i = 0; i < x.chunks * x.panels * kPanel; ++i) {
      if (std::isnan(other.scale[i]))
        ASSERT_TRUE(std::isnan(one.scale[i]) && i % (x.panels * kPanel) == 11);
      else
        ASSERT_EQ(one.scale[i], other.scale[i]);
    }
  }
}

// Rows of panels from the first and from the second on, over the diagonal; what is added to is not 0.
std::vector<double> tiles_of(Tokens& x, Pack pack, Tile tile) {
  Packed packed(x);
  packed.fill(x, pack);
  std::vector<double> out;
  for (const int64_t row : {0, 1}) {
    if (row >= x.panels) break;
    const int64_t rows = std::min<int64_t>(2, x.panels - row), columns = x.panels - row, stride = columns * kPanel;
    Aligned<double> sum(rows * kPanel * stride);
    for (int64_t i = 0; i < rows * kPanel * stride; ++i) sum[i] = 0.125;
    tile({packed.data.data(), packed.scale.data(), x.panels, x.tokens, row, rows, row, columns, sum.data()});
    for (int64_t r = 0; r < rows * kPanel; ++r) {
      for (int64_t c = r; c < stride; ++c) out.push_back(sum[r * stride + c]);
    }
  }
  return out;
}

void expect_same_sums(Pack pack, Tile tile) {
  for (const auto& [tokens, columns] : {std::pair<int64_t, int64_t>{1, 1}, {64, 47}, {300, 101}, {513, 240}}) {
    Tokens x{tokens, columns};
    x.fill();
    const std::vector<double> sums = tiles_of(x, pack, tile),
                              plain = tiles_of(x, plain_kernels().gram_pack, plain_kernels().gram_tile);
    ASSERT_EQ(sums.size(), plain.size());
    for (size_t i = 0; i < sums.size(); ++i) {
      if (std::isnan(plain[i]))
        ASSERT_TRUE(std::isnan(sums[i])) << i;
      else
        ASSERT_EQ(std::bit_cast<uint64_t>(sums[i]), std::bit_cast<uint64_t>(plain[i])) << tokens << " " << i;
    }
  }
}

}  // namespace

void gram_pack_parity() { expect_same_packs(fast_kernels().gram_pack, plain_kernels().gram_pack); }
void gram_pack_planes_parity() { expect_same_packs(fast_kernels().gram_pack_planes, plain_kernels().gram_pack_planes); }
void gram_tile_parity() { expect_same_sums(fast_kernels().gram_pack, fast_kernels().gram_tile); }
void gram_plane_tile_parity() {
  expect_same_sums(plain_kernels().gram_pack_planes, plain_kernels().gram_plane_tile);
  expect_same_sums(fast_kernels().gram_pack_planes, fast_kernels().gram_plane_tile);
}

// What keeps every sum of products below 2^31: the squares of codes sum to less than 2^30, but for what rounding to
// codes adds, and to at least a quarter of that.
TEST(Gram, CodesFillTheirRange) {
  for (const float size : {1e-12f, 3e-3f, 0.7f, 1.0f, 1.9f, 5e8f}) {
    for (const int64_t tokens : {1, 17, 256}) {
      Tokens x{tokens, 3};
      fill_noise(x.x.data(), tokens * 3, 9, size);
      Packed packed(x);
      packed.fill(x, plain_kernels().gram_pack);
      const int16_t* codes = reinterpret_cast<const int16_t*>(packed.data.data());
      for (int64_t c = 0; c < 3; ++c) {
        int64_t squares = 0;
        for (int64_t t = 0; t < tokens; ++t) {
          const int64_t code = codes[t / 2 * 2 * kPanel + 2 * c + t % 2];
          squares += code * code;
          EXPECT_LE(std::fabs(static_cast<double>(code) * packed.scale[c] - double{x.at(t, c)}),
                    packed.scale[c] * (std::abs(code) == 32767 ? 1.01 : 0.501));
        }
        EXPECT_LT(squares, (int64_t{1} << 30) + (int64_t{1} << 20));  // (2^15 + sqrt(256) / 2)^2
        EXPECT_GT(squares, (int64_t{1} << 28) - (int64_t{1} << 20));
      }
    }
  }
}

}  // namespace swage::kernels
