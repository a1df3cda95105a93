// The kernels of many sequences against their twins, and what they promise: a row's bits do not depend on the others.
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "swage/kernels/kernels.h"
#include "swage/kernels/parity_test_support.h"

namespace swage::kernels {
namespace {

std::vector<float> noise(int64_t count, unsigned seed) {
  std::vector<float> out(static_cast<size_t>(count));
  fill_noise(out.data(), count, seed);
  return out;
}

// The same numbers in `format`, as they lie in a cache; codes are up to 100 times as large.
std::vector<uint8_t> stored(const std::vector<float>& x, CacheFormat cached) {
  if (has_scales(cached)) {
    const CodeKind kind = cached == CacheFormat::Int8 ? CodeKind::Int : CodeKind::E4M3;
    std::vector<uint8_t> codes;
    for (const float one : x) codes.push_back(encode_code(kind, round_to_code_value(kind, 100 * one)));
    for (int code = 0; kind == CodeKind::E4M3 && code < 8; ++code) codes[size_t(code)] = uint8_t(code | code << 7);
    return codes;
  }
  const NumberFormat format = cached == CacheFormat::F32    ? NumberFormat::F32
                              : cached == CacheFormat::BF16 ? NumberFormat::BF16
                                                            : NumberFormat::F16;
  std::vector<uint8_t> out(x.size() * size_t(bytes_of(format)));
  for (size_t i = 0; i < x.size(); ++i) {
    const float rounded = round_to(format, x[i]);
    const uint32_t bits = std::bit_cast<uint32_t>(rounded);
    if (format == NumberFormat::F32) std::memcpy(out.data() + 4 * i, &rounded, 4);
    uint16_t half = uint16_t(bits >> 16);
    if (format == NumberFormat::F16) {
      const uint32_t sign = bits >> 16 & 0x8000u;
      const int exponent = int(bits >> 23 & 0xFFu) - 127;
      half = exponent < -14 ? uint16_t(sign | uint32_t(std::ldexp(std::fabs(rounded), 24)))
                            : uint16_t(sign | uint32_t(exponent + 15) << 10 | (bits >> 13 & 0x3FFu));
    }
    if (format != NumberFormat::F32) std::memcpy(out.data() + 2 * i, &half, 2);
  }
  return out;
}

constexpr std::array kFormats = {CacheFormat::F32, CacheFormat::BF16, CacheFormat::F16, CacheFormat::Int8,
                                 CacheFormat::E4M3};

// Of one block's tokens; null for numbers that need none.
const float* scales_for(CacheFormat format) {
  static const std::vector<float> scales = [] {
    std::vector<float> out = noise(kBlockTokens, 9);
    for (float& one : out) one = 0.01f * (1 + std::fabs(one));
    return out;
  }();
  return has_scales(format) ? scales.data() : nullptr;
}

void expect_near(const std::vector<float>& fast, const std::vector<float>& plain, double tolerance) {
  for (size_t i = 0; i < fast.size(); ++i) ASSERT_NEAR(fast[i], plain[i], tolerance) << i;
}

}  // namespace

// f32 sums of n products of unit noise against f64 ones: below n * 2^-24 * sqrt(n) of sums of size sqrt(n).
void dot_rows_parity() {
  for (const auto& [rows, columns, outputs] :
       {std::array<int64_t, 3>{1, 64, 8}, {13, 100, 67}, {6, 7, 3}, {7, 576, 130}}) {
    const std::vector<float> x = noise(rows * (columns + 3), 1), weight = noise(columns * outputs, 2),
                             bias = noise(outputs, 3), start = noise(rows * (outputs + 2), 4);
    for (const bool add : {false, true}) {
      std::vector<float> fast = start, plain = start;
      const auto run = [&, columns = columns, rows = rows, outputs = outputs](const KernelTable& table, float* out) {
        table.dot_rows({x.data(), rows, columns, columns + 3, weight.data(), outputs, add ? nullptr : bias.data(), out,
                        outputs + 2, add});
      };
      run(fast_kernels(), fast.data());
      run(plain_kernels(), plain.data());
      expect_near(fast, plain, 2e-4);
    }
    for (int64_t row = 0; row < rows; ++row) {  // alone
      std::vector<float> alone(static_cast<size_t>(outputs)), all(static_cast<size_t>(rows * outputs));
      fast_kernels().dot_rows(
          {x.data(), rows, columns, columns + 3, weight.data(), outputs, nullptr, all.data(), outputs, false});
      fast_kernels().dot_rows({x.data() + row * (columns + 3), 1, columns, columns + 3, weight.data(), outputs, nullptr,
                               alone.data(), outputs, false});
      for (int64_t o = 0; o < outputs; ++o) ASSERT_EQ(alone[size_t(o)], all[size_t(row * outputs + o)]);
    }
  }
}

void block_scores_parity() {
  for (const CacheFormat format : kFormats) {
    for (const int64_t rows : {1, 2, 3, 5, 8, 15}) {
      const int64_t size = 24, stride = kBlockTokens + 5;
      const std::vector<float> query = noise(rows * size, 1);
      const std::vector<uint8_t> keys = stored(noise(size * kBlockTokens, 2), format);
      std::vector<float> fast(static_cast<size_t>(rows * stride)), plain = fast, alone = fast;
      fast_kernels().block_scores(
          {query.data(), rows, size, keys.data(), format, fast.data(), stride, scales_for(format)});
      plain_kernels().block_scores(
          {query.data(), rows, size, keys.data(), format, plain.data(), stride, scales_for(format)});
      expect_near(fast, plain, 1e-5);  // the same, but for the baseline, which does not fuse
      for (int64_t row = 0; row < rows; ++row)
        fast_kernels().block_scores({query.data() + row * size, 1, size, keys.data(), format,
                                     alone.data() + row * stride, stride, scales_for(format)});
      EXPECT_EQ(fast, alone);
    }
  }
}

void block_values_parity() {
  for (const CacheFormat format : kFormats) {
    for (const int64_t rows : {1, 3, 4, 9}) {
      for (const int64_t size : {4, 16, 37}) {
        const std::vector<float> weights = noise(rows * (kBlockTokens + 1), 1), start = noise(rows * size, 3);
        const std::vector<uint8_t> values = stored(noise(size * kBlockTokens, 2), format);
        std::vector<float> fast = start, plain = start, alone = start;
        const auto run = [&](const KernelTable& table, int64_t row, int64_t count, float* out) {
          table.block_values({weights.data() + row * (kBlockTokens + 1), count, kBlockTokens + 1, 2, 13, values.data(),
                              format, size, out + row * size, scales_for(format)});
        };
        run(fast_kernels(), 0, rows, fast.data());
        run(plain_kernels(), 0, rows, plain.data());
        expect_near(fast, plain, 1e-5);
        for (int64_t row = 0; row < rows; ++row) run(fast_kernels(), row, 1, alone.data());
        EXPECT_EQ(fast, alone);
      }
    }
  }
}

// The same bits.
void score_weights_parity() {
  const float sink = 0.3f;
  const std::vector<float> start = noise(96, 5);
  std::vector<uint8_t> chosen(96);
  for (size_t i = 0; i < 96; ++i) chosen[i] = i % 3 != 0;
  for (const auto& [first, last] : {std::array<int64_t, 2>{32, 32}, {35, 80}, {40, 127}}) {
    for (int form = 0; form < 6; ++form) {
      std::vector<float> fast = start, plain = start;
      const auto run = [&, first = first, last = last](const KernelTable& table, float* scores) {
        table.score_weights({scores, 32, first, last, 0.7f, form == 1 ? 2.0f : 0.0f, form == 2 ? 0.1f : 0.0f,
                             form == 3 ? &sink : nullptr, form == 4 && last > first ? chosen.data() : nullptr});
      };
      run(fast_kernels(), fast.data());
      run(plain_kernels(), plain.data());
      EXPECT_EQ(fast, plain) << form;
      double sum = 0;
      for (int64_t i = 0; i <= last - 32; ++i) sum += double(fast[size_t(i)]);
      if (form != 3) {
        EXPECT_NEAR(sum, 1, 1e-5);
      }
    }
  }
}

}  // namespace swage::kernels
