// The kernels of rows give the same bits as their twins; kernels_test.cpp runs these. Sizes around the 16 parts of a
// sum.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "swage/kernels/kernels.h"
#include "swage/kernels/parity_test_support.h"

namespace swage::kernels {
namespace {

constexpr int64_t kSizes[] = {1, 7, 16, 33, 64, 576};

std::vector<float> noise(int64_t count, unsigned seed, float size = 1) {
  std::vector<float> out(static_cast<size_t>(count));
  fill_noise(out.data(), count, seed, size);
  return out;
}

void expect_same_bits(const std::vector<float>& fast, const std::vector<float>& plain, int64_t size) {
  ASSERT_EQ(fast.size(), plain.size());
  for (size_t i = 0; i < fast.size(); ++i)
    ASSERT_EQ(std::memcmp(&fast[i], &plain[i], sizeof(float)), 0)
        << size << ": " << i << " " << fast[i] << " " << plain[i];
}

// Runs a kernel of both tables on copies of `start`, which it changes or writes.
template <class Run>
void meet(const std::vector<float>& start, int64_t size, Run run) {
  std::vector<float> fast = start, plain = start;
  run(fast_kernels(), fast.data());
  run(plain_kernels(), plain.data());
  expect_same_bits(fast, plain, size);
}

// Values across the range of a format, at its midpoints too: multiples of 2^-12 and noise.
std::vector<float> around_codes(int64_t count, float largest) {
  std::vector<float> x = noise(count, 5, largest / 2);
  for (size_t i = 0; i < x.size(); i += 2) x[i] = std::round(x[i] * 0x1p12f) * 0x1p-12f;
  for (size_t i = 0; i < x.size(); i += 3) x[i] = std::ldexp(x[i], -int(i % 12));
  return x;
}

template <class Kernel>
void round_to_floats_parity(Kernel kernel, float largest) {
  for (const float scale : {1.0f, 0.037f}) {
    const std::vector<float> x = around_codes(999, largest);
    meet(std::vector<float>(x.size()), int64_t(x.size()),
         [&](const KernelTable& table, float* out) { (table.*kernel)({x.data(), int64_t(x.size()), scale, out}); });
  }
}

}  // namespace

void rms_norm_parity() {
  for (const int64_t size : kSizes) {
    const std::vector<float> x = noise(5 * size, 1), weight = noise(size, 2);
    meet(x, size,
         [&](const KernelTable& table, float* out) { table.rms_norm({x.data(), weight.data(), 5, size, 1e-5f, out}); });
    meet(x, size, [&](const KernelTable& table, float* out) {  // in place
      table.rms_norm({out, weight.data(), 5, size, 1e-5f, out});
    });
  }
}

void silu_multiply_parity() {
  for (const int64_t size : kSizes) {
    std::vector<float> gate = noise(3 * size, 3, 20);
    gate[0] = -1000, gate.back() = 1000;  // beyond what exp() takes
    const std::vector<float> up = noise(3 * size, 4);
    meet(gate, size, [&](const KernelTable& table, float* out) { table.silu_multiply({out, up.data(), 3 * size}); });
  }
}

void rotate_heads_parity() {
  for (const int64_t half : kSizes) {
    const std::vector<float> cosine = noise(4 * half, 6), sine = noise(4 * half, 7);
    meet(noise(4 * 3 * 2 * half, 8), half,
         [&](const KernelTable& table, float* x) { table.rotate_heads({x, cosine.data(), sine.data(), 4, 3, half}); });
  }
}

void softmax_rows_parity() {
  for (const int64_t size : kSizes) {
    const int64_t keys = size + 3;
    for (const int64_t window : {0, 5}) {  // three queries of two heads, the last sees every key
      meet(noise(6 * keys, 9, 30), size, [&](const KernelTable& table, float* scores) {
        table.softmax_rows({scores, 6, keys, 0.5f, keys - 3, window, 2});
      });
    }
  }
}

void largest_size_parity() {
  for (const int64_t size : kSizes) {
    std::vector<float> x(size_t(size), 1.0f);
    for (int64_t i = 0; i < size; ++i) {
      x[size_t(i)] = -float(i + 2);
      LargestSize fast{x.data(), size, 0}, plain = fast;
      fast_kernels().largest_size(fast);
      plain_kernels().largest_size(plain);
      ASSERT_EQ(fast.largest, float(i + 2));
      ASSERT_EQ(plain.largest, float(i + 2));
    }
  }
}

void column_ranges_parity() {
  for (const int64_t size : kSizes) {
    std::vector<float> x = noise(11 * size, 10);
    for (const bool broken : {false, true}) {
      if (broken) x[size_t(5 * size)] = std::numeric_limits<float>::quiet_NaN();
      std::vector<double> fast_sum(size_t(size), 2.0), plain_sum = fast_sum;
      std::vector<float> fast(size_t(2 * size), 0.25f), plain = fast;
      fast_kernels().column_ranges({x.data(), 11, size, fast.data(), fast.data() + size, fast_sum.data()});
      plain_kernels().column_ranges({x.data(), 11, size, plain.data(), plain.data() + size, plain_sum.data()});
      EXPECT_EQ(std::isnan(fast[0]), broken);
      EXPECT_EQ(std::isnan(fast[size_t(size)]), broken);
      for (int64_t i = broken ? 1 : 0; i < size; ++i) {
        ASSERT_EQ(fast[size_t(i)], plain[size_t(i)]);
        ASSERT_EQ(fast[size_t(size + i)], plain[size_t(size + i)]);
        ASSERT_EQ(fast_sum[size_t(i)], plain_sum[size_t(i)]);
      }
      std::vector<float> without = plain;
      fast_kernels().column_ranges({x.data(), 11, size, without.data(), without.data() + size, nullptr});
      expect_same_bits(without, plain, size);
    }
  }
}

void round_to_integers_parity() {
  for (const float zero_point : {0.0f, -3.0f}) {
    const std::vector<float> x = around_codes(999, 140);
    meet(std::vector<float>(x.size()), 999, [&](const KernelTable& table, float* out) {
      table.round_to_integers({x.data(), int64_t(x.size()), 0.7f, zero_point, -128, 127, out});
    });
  }
}

void round_to_e4m3_parity() { round_to_floats_parity(&KernelTable::round_to_e4m3, 448); }
void round_to_e2m1_parity() { round_to_floats_parity(&KernelTable::round_to_e2m1, 6); }

}  // namespace swage::kernels
