// Products of planes of bytes against their plain twins, and bit for bit against products of pairs of int16.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <string_view>
#include <vector>

#include "swage/kernels/kernels.h"
#include "swage/kernels/parity_test_support.h"

namespace swage::kernels {
namespace {

int64_t whole_groups(int64_t rows) { return (rows + kTileRows - 1) / kTileRows * kTileRows; }

// Activations and a weight in both layouts. Its first output holds the largest values there may be.
struct Product {
  int64_t rows, columns, block, outputs, stride = outputs + 3;
  Aligned<uint8_t> planes{whole_groups(rows) * 2 * columns};
  Aligned<float> plane_scale{whole_groups(rows) * (columns / block)};
  std::vector<int16_t> codes = std::vector<int16_t>(static_cast<size_t>(rows * columns));
  std::vector<float> scale = std::vector<float>(static_cast<size_t>(rows * (columns / block)));
  Aligned<int8_t> bytes{columns * kPanel}, rest{columns * kPanel};
  Aligned<int16_t> pairs{columns * kPanel};
  Aligned<float> weight_scale{columns / block * kPanel};
  bool two_bytes = false;

  void fill(unsigned seed) {
    std::vector<float> x(static_cast<size_t>(rows * columns));
    fill_noise(x.data(), rows * columns, seed);
    for (size_t i = 0; i < x.size(); i += 41) x[i] *= 100;
    plain_kernels().quantize_blocks({x.data(), rows * columns, block, codes.data(), scale.data()});
    plain_kernels().quantize_planes({x.data(), rows, columns, block, planes.data(), plane_scale.data()});
    fill_noise(weight_scale.data(), columns / block * kPanel, seed + 1);
    std::mt19937 random(seed);
    for (int64_t o = 0; o < outputs; ++o) {
      for (int64_t i = 0; i < columns; ++i) {
        const int64_t place = ((o / kTileRows * (columns / 4) + i / 4) * kTileRows + o % kTileRows) * 4 + i % 4;
        bytes[place] = static_cast<int8_t>(o == 0 ? -128 : int(random() % 256) - 128);
        rest[place] = static_cast<int8_t>(o == 0 ? -127 : int(random() % 256) - 128);
        pairs[i / 2 * 2 * kPanel + 2 * o + i % 2] = static_cast<int16_t>(bytes[place] + (two_bytes ? rest[place] : 0));
      }
    }
  }
  void by_planes(const KernelTable& table, float* out, bool add) {
    table.plane_product({rows, columns, block, planes.data(), plane_scale.data(), bytes.data(),
                         two_bytes ? rest.data() : nullptr, weight_scale.data(), out, stride, outputs, add});
  }
  void by_pairs(const KernelTable& table, float* out, bool add) {
    table.integer_product({rows, columns, block, codes.data(), scale.data(), pairs.data(), weight_scale.data(), out,
                           stride, outputs, add});
  }
};

}  // namespace

// Also what quantize_blocks() makes of the same values.
void quantize_planes_parity() {
  for (const int64_t block : {4, 32, 36, 64, 96, 128}) {
    constexpr int64_t kRows = 21, kBlocks = 3;
    const int64_t columns = kBlocks * block;
    std::vector<float> x(static_cast<size_t>(kRows * columns));
    fill_noise(x.data(), kRows * columns, 3);
    for (int64_t i = 0; i < block; ++i) x[static_cast<size_t>(i)] = 0;
    x[static_cast<size_t>(columns)] = 1e4f;
    x[static_cast<size_t>(2 * columns + block)] = NAN;
    std::vector<uint8_t> fast(static_cast<size_t>(whole_groups(kRows) * 2 * columns)), plain(fast);
    std::vector<float> fast_scale(static_cast<size_t>(whole_groups(kRows) * kBlocks)), plain_scale(fast_scale);
    fast_kernels().quantize_planes({x.data(), kRows, columns, block, fast.data(), fast_scale.data()});
    plain_kernels().quantize_planes({x.data(), kRows, columns, block, plain.data(), plain_scale.data()});
    const int64_t step = tile_step(block);
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t i = 0; i < columns; ++i) {
        const size_t scale = static_cast<size_t>(plane_scale(r, i / block, kBlocks));
        if (std::isnan(plain_scale[scale])) {
          EXPECT_TRUE(std::isnan(fast_scale[scale]) && r == 2 && i / block == 1);
          continue;
        }
        ASSERT_EQ(fast_scale[scale], plain_scale[scale]);
        const size_t low = static_cast<size_t>((r / kTileRows * (columns / step) + i / step) * 2 * kTileRows * step +
                                               r % kTileRows * step + i % step),
                     high = low + static_cast<size_t>(kTileRows * step);
        ASSERT_EQ(fast[low], plain[low]) << block << " " << r << " " << i;
        ASSERT_EQ(fast[high], plain[high]) << block << " " << r << " " << i;
        const float value =
            plain_scale[scale] * static_cast<float>(static_cast<int8_t>(plain[high]) * 256 + plain[low]);
        // Half a step, and what 1 / scale, the product and its value here are rounded by: 2^-24 of 2^15 steps each.
        ASSERT_NEAR(value, x[static_cast<size_t>(r * columns + i)], 0.51f * plain_scale[scale]);
      }
    }
  }
}

// The plain twins of both forms agree in every bit, and each fast form with them where it has a fused multiply-add:
// only then are sums rounded once.
void plane_product_parity() {
  struct Case {
    int64_t rows, columns, block, outputs;
    bool two_bytes;
  };
  for (const Case& c : {Case{16, 64, 64, 48, false}, Case{37, 1152, 64, 48, false}, Case{1, 512, 128, 48, true},
                        Case{160, 96, 32, 7, false}, Case{19, 288, 96, 33, true}, Case{130, 72, 36, 16, false},
                        Case{5, 1024, 256, 20, false}, Case{17, 24, 12, 47, true}}) {
    Product p{.rows = c.rows, .columns = c.columns, .block = c.block, .outputs = c.outputs, .two_bytes = c.two_bytes};
    p.fill(7);
    const int64_t size = p.rows * p.stride;
    Aligned<float> fast(size), plain(size), pairs(size), fast_pairs(size);
    for (const bool add : {false, true}) {
      p.by_planes(fast_kernels(), fast.data(), add);
      p.by_planes(plain_kernels(), plain.data(), add);
      p.by_pairs(plain_kernels(), pairs.data(), add);
      p.by_pairs(fast_kernels(), fast_pairs.data(), add);
      for (int64_t i = 0; i < size; ++i) {
        ASSERT_EQ(std::bit_cast<uint32_t>(fast[i]), std::bit_cast<uint32_t>(plain[i])) << c.rows << " " << i;
        ASSERT_EQ(std::bit_cast<uint32_t>(pairs[i]), std::bit_cast<uint32_t>(plain[i])) << c.rows << " " << i;
        if (std::string_view(instruction_set()) != "SCALAR") {
          ASSERT_EQ(std::bit_cast<uint32_t>(fast_pairs[i]), std::bit_cast<uint32_t>(plain[i])) << c.rows << " " << i;
        }
      }
    }
  }
}

}  // namespace swage::kernels
