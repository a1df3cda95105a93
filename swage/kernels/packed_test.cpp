// The kernels of packed codes give the same bits as their twins; kernels_test.cpp runs these for every instruction set.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "swage/kernels/kernels.h"
#include "swage/kernels/parity_test_support.h"

namespace swage::kernels {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// A product with random codes, the largest among them, and everything that it points to.
struct PackedCase {
  PackedCase(PackedCode kind, int64_t rows, int64_t blocks, int64_t block, int64_t outputs, NumberFormat format,
             bool zeros, unsigned seed)
      : padded(padded_block(block)),
        bytes((outputs + kPackedRows - 1) / kPackedRows * blocks * padded * kPackedRows * code_bits(kind) / 8),
        planes(rows * blocks * 2 * padded),
        codes(bytes),
        scale(bytes * 4),
        zero(bytes),
        x_scale(rows * blocks),
        x_sum(rows * blocks),
        out(rows * (outputs + 3)) {
    std::mt19937 random(seed);
    std::vector<float> x(size_t(rows * blocks * block));
    fill_noise(x.data(), int64_t(x.size()), seed);
    x[0] = 300;  // an outlier takes the codes beside it to 0 and itself to the largest
    plain_kernels().split_blocks({x.data(), int64_t(x.size()), block, planes.data(), x_scale.data(), x_sum.data()});
    for (int64_t i = 0; i < bytes; ++i) codes[i] = i % 5 == 0 ? 255 : uint8_t(random());
    for (int64_t i = 0; i < bytes; ++i) zero[i] = uint8_t(random() % (kind == PackedCode::U8 ? 256 : 16));
    fill_noise(reinterpret_cast<float*>(scale.data()), bytes, seed + 1, 0.01f);
    if (format != NumberFormat::F32) {  // of halves: no NaN, no infinity
      auto* half = reinterpret_cast<uint16_t*>(scale.data());
      for (int64_t i = 0; i < 2 * bytes; ++i) half[i] = uint16_t(0x2400 + random() % 0x1000);
    }
    product = {rows,
               blocks,
               padded,
               planes.data(),
               x_scale.data(),
               x_sum.data(),
               kind,
               codes.data(),
               scale.data(),
               format,
               1.5f,
               zeros ? zero.data() : nullptr,
               kind == PackedCode::U8 ? 128 : 8,
               2,
               out.data(),
               outputs + 3,
               outputs,
               false};
  }

  int64_t padded, bytes;
  Aligned<int8_t> planes;
  Aligned<uint8_t> codes, scale, zero;
  Aligned<float> x_scale;
  Aligned<int32_t> x_sum;
  Aligned<float> out;
  PackedProduct product;
};

void expect_same_bits(const float* fast, const float* plain, int64_t count, int64_t what) {
  for (int64_t i = 0; i < count; ++i)
    ASSERT_EQ(std::memcmp(&fast[i], &plain[i], sizeof(float)), 0)
        << what << ": " << i << " " << fast[i] << " " << plain[i];
}

void expect_product_parity(PackedCase& c) {
  const int64_t count = c.product.rows * c.product.out_stride;
  std::vector<float> fast(static_cast<size_t>(count), 1.5f), plain = fast;
  for (const bool add : {false, true}) {
    PackedProduct p = c.product;
    p.add = add;
    p.out = fast.data();
    fast_kernels().packed_product(p);
    p.out = plain.data();
    plain_kernels().packed_product(p);
    expect_same_bits(fast.data(), plain.data(), count, c.padded);
  }
}

// A row of a product alone, among the first 1 .. 17 rows, and in pieces.
TEST(PackedProduct, RowsDoNotDependOnTheirNeighbours) {
  for (const PackedCode kind : {PackedCode::U4, PackedCode::E2M1, PackedCode::U8}) {
    PackedCase c(kind, 37, 6, 64, 50, NumberFormat::F16, true, 3);
    const int64_t stride = c.product.out_stride;
    std::vector<float> whole(size_t(37 * stride)), part(whole.size());
    const auto run = [&](int64_t first, int64_t rows, float* out) {
      PackedProduct p = c.product;
      p.rows = rows;
      p.planes += first * p.blocks * 2 * p.block;
      p.x_scale += first * p.blocks;
      p.x_sum += first * p.blocks;
      p.out = out + first * stride;
      fast_kernels().packed_product(p);
    };
    run(0, 37, whole.data());
    for (int64_t rows = 1; rows <= 17; ++rows) {
      for (int64_t first = 0; first < 37; first += rows) run(first, std::min(rows, 37 - first), part.data());
      expect_same_bits(part.data(), whole.data(), int64_t(whole.size()), rows);
    }
  }
}

}  // namespace

void packed_product_parity() {
  for (const PackedCode kind : {PackedCode::U4, PackedCode::E2M1, PackedCode::U8}) {
    for (const NumberFormat format : {NumberFormat::F32, NumberFormat::F16, NumberFormat::BF16}) {
      for (const int64_t block : {2, 16, 30, 64, 128, 256}) {
        PackedCase one(kind, 5, 4, block, 37, format, block % 4 == 0, 7), many(kind, 21, 2, block, 16, format, true, 8),
            eight(kind, 1, 6, block, 8, format, false, 9);
        for (PackedCase* c : {&one, &many, &eight}) expect_product_parity(*c);
      }
    }
  }
}

void split_blocks_parity() {
  for (const int64_t block : {2, 16, 30, 64, 128}) {
    const int64_t padded = padded_block(block), count = 5 * block;
    std::vector<float> x(static_cast<size_t>(count)), fast_scale(5), plain_scale(5);
    fill_noise(x.data(), count, 3);
    for (int64_t i = 0; i < block; ++i) x[size_t(2 * block + i)] = 0;
    x[size_t(block)] = 1e4f;
    x[size_t(3 * block + 1)] = kNan;
    x[size_t(4 * block)] = INFINITY;
    std::vector<int8_t> fast(size_t(10 * padded), 1), plain = fast;
    std::vector<int32_t> fast_sum(5), plain_sum(5);
    fast_kernels().split_blocks({x.data(), count, block, fast.data(), fast_scale.data(), fast_sum.data()});
    plain_kernels().split_blocks({x.data(), count, block, plain.data(), plain_scale.data(), plain_sum.data()});
    EXPECT_EQ(fast, plain) << block;
    EXPECT_EQ(fast_sum, plain_sum) << block;
    for (const size_t bad : {3u, 4u}) EXPECT_TRUE(std::isnan(fast_scale[bad]) && std::isnan(plain_scale[bad])) << block;
    for (int64_t i = 0; i < 3 * block; ++i) {
      const int64_t b = i / block, at = 2 * b * padded + i % block;
      EXPECT_EQ(fast_scale[size_t(b)], plain_scale[size_t(b)]);
      const int code = 256 * plain[size_t(at)] + plain[size_t(at + padded)];
      EXPECT_NEAR(x[size_t(i)], plain_scale[size_t(b)] * float(code), 0.501f * plain_scale[size_t(b)]) << block;
    }
  }
}

void row_product_parity() {
  for (const NumberFormat format : {NumberFormat::F32, NumberFormat::F16, NumberFormat::BF16}) {
    for (const int64_t columns : {1, 16, 37, 64, 129}) {
      constexpr int64_t kRows = 6, kOutputs = 11, kStride = 13;
      std::vector<float> x(size_t(kRows * columns)), weight(size_t(kOutputs * columns));
      fill_noise(x.data(), int64_t(x.size()), 1);
      fill_noise(weight.data(), int64_t(weight.size()), 2);
      if (format != NumberFormat::F32) {
        auto* half = reinterpret_cast<uint16_t*>(weight.data());
        for (size_t i = 0; i < weight.size(); ++i) half[i] = uint16_t(0x2C00 + 37 * i % 0x1000);
      }
      std::vector<float> fast(size_t(kRows * kStride), 2), plain = fast, alone = fast;
      for (const bool add : {false, true}) {
        const auto run = [&](const KernelTable& table, int64_t row, int64_t rows, std::vector<float>& out) {
          table.row_product({rows, columns, x.data() + row * columns, weight.data(), format, out.data() + row * kStride,
                             kStride, kOutputs, add});
        };
        run(fast_kernels(), 0, kRows, fast);
        run(plain_kernels(), 0, kRows, plain);
        for (int64_t row = 0; row < kRows; ++row) run(fast_kernels(), row, 1, alone);
        expect_same_bits(alone.data(), fast.data(), int64_t(fast.size()), columns);
        // The baseline has no fused multiply-add: each of the products, below 0.4 in size but for F32's, is rounded.
        const float bound = 1e-6f * float(columns);
        for (size_t i = 0; i < fast.size(); ++i) ASSERT_NEAR(fast[i], plain[i], bound) << columns << " " << i;
      }
    }
  }
}

}  // namespace swage::kernels
