// Every kernel in the table meets its scalar twin, on inputs with odd sizes.
#include "swage/kernels/kernels.h"

#include "swage/kernels/cpu/targets.h"
#include "swage/kernels/parity_test_support.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <array>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace swage::kernels {
namespace {

void cholesky_tile_parity() {
  constexpr int64_t kDepth = 300, kTile = kPanel * kPanel;
  std::mt19937 random(7);
  std::normal_distribution<double> noise(0.0, 0.1);
  Aligned<double> a(kDepth * kPanel), b(kDepth * kPanel), diagonal(kTile), fast(kTile), plain(kTile);
  for (int64_t i = 0; i < kDepth * kPanel; ++i) a[i] = noise(random), b[i] = noise(random);
  for (int64_t i = 0; i < kTile; ++i) diagonal[i] = i % (kPanel + 1) == 0 ? 2.0 : noise(random);
  for (const double* with : {static_cast<const double*>(nullptr), static_cast<const double*>(diagonal.data())}) {
    for (int64_t i = 0; i < kTile; ++i) fast[i] = plain[i] = noise(random);
    fast_kernels().cholesky_tile({a.data(), b.data(), kDepth, with, fast.data()});
    plain_kernels().cholesky_tile({a.data(), b.data(), kDepth, with, plain.data()});
    // Sums of 300 products of size 0.01, with and without fused rounding, through a solve that at most doubles them.
    for (int64_t i = 0; i < kTile; ++i) ASSERT_NEAR(fast[i], plain[i], 1e-13) << i;
  }
}

struct GptqData {
  static constexpr int64_t kColumns = 40, kGroups = 5;
  Aligned<float> weight{kColumns * kPanel}, m{gptq_m_offset(kColumns / kColumnGroup)}, d{kColumns};
  Aligned<float> scale{kGroups * kPanel}, inverse{kGroups * kPanel}, zero{kGroups * kPanel};
  std::vector<int32_t> group;
  Aligned<uint8_t> codes{kColumns * kPanel};
  Aligned<float> keep{kColumns * kPanel};
  double loss[kPanel];
  bool masked = false;

  GptqData(CodeRange range, bool symmetric) {
    fill_noise(weight.data(), kColumns * kPanel, 2);
    fill_noise(m.data(), gptq_m_offset(kColumns / kColumnGroup), 3, 0.2f);
    fill_noise(scale.data(), kGroups * kPanel, 4, 0.01f);
    for (int64_t i = 0; i < kColumns; ++i) {
      d[i] = 1.0f + 0.1f * static_cast<float>(i);
      group.push_back(static_cast<int32_t>(i * 7 % kGroups));
    }
    for (int64_t i = 0; i < kGroups * kPanel; ++i) {
      scale[i] = std::fabs(scale[i]) + (range.kind == CodeKind::E4M3 ? 0.005f : 0.3f);
      inverse[i] = 1.0f / scale[i];
      zero[i] = symmetric ? 0.0f : static_cast<float>(i % 7 - 3);
    }
    for (int64_t i = 0; i < kColumns * kPanel; ++i) keep[i] = i % 5 == 2 ? 0.0f : 1.0f;
  }
  void run(const KernelTable& table, CodeRange range) {
    table.gptq_panel({kColumns, weight.data(), m.data(), d.data(), group.data(), scale.data(), inverse.data(),
                      zero.data(), range, codes.data(), loss, masked ? keep.data() : nullptr});
  }
};

void gptq_panel_parity() {
  for (const bool masked : {false, true}) {
    for (const auto& [range, symmetric] : {std::pair{CodeRange{CodeKind::Int, -8, 7}, true},
                                           {CodeRange{CodeKind::Int, -8, 7}, false},
                                           {CodeRange{CodeKind::E4M3, -448, 448}, true},
                                           {CodeRange{CodeKind::E2M3, -7.5f, 7.5f}, true},
                                           {CodeRange{CodeKind::E2M1, -6, 6}, true}}) {
      GptqData fast(range, symmetric), plain(range, symmetric);
      fast.masked = plain.masked = masked;
      fast.run(fast_kernels(), range);
      plain.run(plain_kernels(), range);
      int64_t different = 0;
      for (int64_t i = 0; i < GptqData::kColumns * kPanel; ++i) different += fast.codes[i] != plain.codes[i];
      // Fused multiply-add in the same order on both sides: equal, except that a CPU without it may round a tie
      // otherwise.
      EXPECT_LE(different, 4) << "kind " << int(range.kind);
      if (different != 0) continue;
      for (int64_t i = 0; i < GptqData::kColumns * kPanel; ++i) ASSERT_NEAR(fast.weight[i], plain.weight[i], 1e-5f);
      for (int64_t i = 0; i < kPanel; ++i) EXPECT_NEAR(fast.loss[i], plain.loss[i], 1e-5 * plain.loss[i]);
    }
  }
}

// |code value - w|^norm summed in f64 for one lane.
double search_error(const ScaleSearchPanel& p, int64_t lane) {
  double sum = 0;
  for (int64_t i = 0; i < p.count; ++i) {
    const float w = p.weight[i * kSearchLanes + lane],
                importance = p.importance == nullptr ? 1.0f : p.importance[i * kSearchLanes + lane];
    float code = std::clamp(w / p.scale[lane] + p.zero[lane], p.range.min, p.range.max);
    code = round_to_code_value(p.range.kind, code);
    sum += double{importance} * std::pow(std::fabs(double{(code - p.zero[lane]) * p.scale[lane] - w}), double{p.norm});
  }
  return sum;
}

// Weights of kSearchLanes groups with their ranges and the factors tried.
struct SearchData {
  static constexpr int64_t kCount = 72;
  Aligned<float> weight{kCount * kSearchLanes}, low{kSearchLanes}, high{kSearchLanes};
  Aligned<float> scale{kSearchLanes}, zero{kSearchLanes}, plain_scale{kSearchLanes}, plain_zero{kSearchLanes};
  Aligned<float> importance{kCount * kSearchLanes};
  std::vector<int32_t> step = std::vector<int32_t>(kSearchLanes), plain_step = step;
  std::vector<uint8_t> improved = std::vector<uint8_t>(46), plain_improved = improved;
  std::vector<float> factors;

  explicit SearchData(bool power_of_two) {
    for (int64_t i = 0; i < kCount * kSearchLanes; ++i) importance[i] = 0.5f + static_cast<float>(i % 7);
    fill_noise(weight.data(), kCount * kSearchLanes, 5, 0.02f);
    for (int64_t i = 0; i < kCount; ++i) weight[i * kSearchLanes + 3] = 0;        // a group of zeros
    for (int64_t i = 0; i < kCount; ++i) weight[i * kSearchLanes + 4] *= 1e-12f;  // and a tiny one
    for (int64_t i = 0; i < kCount * kSearchLanes; ++i) {
      low[i % kSearchLanes] = std::min(low[i % kSearchLanes], weight[i]);
      high[i % kSearchLanes] = std::max(high[i % kSearchLanes], weight[i]);
    }
    for (int i = 0; i < 46; ++i) factors.push_back(static_cast<float>(1.15 - 0.015 * i));
    if (power_of_two) factors = {1, 2, 0.5f};
  }
  ScaleSearchPanel panel(CodeRange range, bool symmetric, float norm, const ScaleRule& rule) {
    const float span = range.max - range.min;
    return {weight.data(),  kCount,
            low.data(),     high.data(),
            factors.data(), static_cast<int64_t>(factors.size()),
            norm,           range,
            symmetric,      symmetric ? span / 2 : span,
            rule,           scale.data(),
            zero.data()};
  }
};

void search_parity_for(CodeRange range, bool symmetric, float norm, const ScaleRule& rule, bool weighted) {
  SearchData data(rule.format == ScaleFormat::PowerOfTwo);
  ScaleSearchPanel fast = data.panel(range, symmetric, norm, rule);
  if (weighted) fast.importance = data.importance.data();
  fast.step = data.step.data(), fast.improved = data.improved.data();
  ScaleSearchPanel plain = fast;
  plain.step = data.plain_step.data(), plain.improved = data.plain_improved.data();
  plain.scale = data.plain_scale.data();
  plain.zero = data.plain_zero.data();
  fast_kernels().search_scales(fast);
  plain_kernels().search_scales(plain);
  for (int64_t lane = 0; lane < kSearchLanes; ++lane) {
    // log2 and exp2 are good to 1e-5 together, so the winner may be another candidate whose error is this close.
    EXPECT_LE(search_error(fast, lane), search_error(plain, lane) * (1 + 5e-5) + 1e-30)
        << "lane " << lane << " norm " << norm;
    if (data.scale[lane] == data.plain_scale[lane] && data.zero[lane] == data.plain_zero[lane] &&
        rule.format == ScaleFormat::F32) {
      EXPECT_EQ(data.step[static_cast<size_t>(lane)], data.plain_step[static_cast<size_t>(lane)]);
    }
    EXPECT_EQ(data.improved[static_cast<size_t>(data.step[static_cast<size_t>(lane)])], 1);
  }
  EXPECT_EQ(data.scale[3], data.plain_scale[3]);
  EXPECT_EQ(data.step[3], 0);
}

// All lanes as one group: the same candidates, and errors in the same proportion.
void search_one_group_for(CodeRange range, bool symmetric, float norm, const ScaleRule& rule, bool weighted) {
  SearchData data(rule.format == ScaleFormat::PowerOfTwo);
  ScaleSearchPanel fast = data.panel(range, symmetric, norm, rule);
  if (weighted) fast.importance = data.importance.data();
  for (int64_t lane = 0; lane < kSearchLanes; ++lane) data.low[lane] = data.low[0], data.high[lane] = data.high[0];
  const size_t steps = data.factors.size();
  std::vector<float> scale(steps), zero(steps), plain_scale(steps), plain_zero(steps);
  std::vector<double> error(steps), plain_error(steps);
  fast.scale = scale.data(), fast.zero = zero.data(), fast.error = error.data();
  ScaleSearchPanel plain = fast;
  plain.scale = plain_scale.data(), plain.zero = plain_zero.data(), plain.error = plain_error.data();
  fast_kernels().search_scales(fast);
  plain_kernels().search_scales(plain);
  EXPECT_EQ(scale, plain_scale);
  EXPECT_EQ(zero, plain_zero);
  for (size_t i = 0; i < steps; ++i)
    EXPECT_NEAR(error[i] / error[0], plain_error[i] / plain_error[0], 1e-4 * plain_error[i] / plain_error[0]);
}

void search_scales_parity() {
  const CodeRange int4{CodeKind::Int, -8, 7}, fp8{CodeKind::E4M3, -448, 448}, fp6{CodeKind::E2M3, -7.5f, 7.5f},
      fp4{CodeKind::E2M1, -6, 6};
  const ScaleRule nvfp4{ScaleFormat::E4M3, CodeKind::E2M1, 0.125f, 3000.0f};
  for (const auto& run : {search_parity_for, search_one_group_for}) {
    for (const float norm : {2.4f, 2.0f, 1.0f, 3.5f}) {
      run(int4, true, norm, {ScaleFormat::BF16, CodeKind::Int, 0x1p-7f}, false);
      run(int4, false, norm, {ScaleFormat::F16, CodeKind::Int, 0x1p-10f}, true);
      run(fp8, true, norm, {ScaleFormat::F32, CodeKind::E4M3, 0x1p-23f}, false);
      run(fp4, true, norm, nvfp4, true);
      for (const CodeRange& mx : {fp4, fp6, fp8}) run(mx, true, norm, {ScaleFormat::PowerOfTwo, mx.kind}, false);
    }
  }
}

// 77 values, among them ties, the edges of FP8's subnormals, -0 and values beyond the range, in each format.
std::vector<float> awkward_values() {
  std::vector<float> values{0.0f,          -0.0f,         0.5f,      1.5f,   -2.5f, 1e-4f, -1e-4f,
                            0.0009765625f, 0.0146484375f, 0.015625f, 463.0f, -1e4f, 7.49f};
  std::mt19937 random(6);
  std::normal_distribution<float> noise(0.0f, 30.0f);
  while (values.size() < 77) values.push_back(noise(random));
  return values;
}

std::vector<uint16_t> halves(const std::vector<float>& values, NumberFormat format) {
  std::vector<uint16_t> out;
  for (const float x : values) {
    if (format == NumberFormat::BF16) {
      out.push_back(static_cast<uint16_t>(std::bit_cast<uint32_t>(round_to_bf16(x)) >> 16));
      continue;
    }
    int exponent = 0;
    const float f16 = round_to_f16(x);
    const float mantissa = std::frexp(std::fabs(f16), &exponent);  // f16 = mantissa * 2^exponent, mantissa in [1/2, 1)
    const int bits = f16 == 0         ? 0
                     : exponent < -13 ? static_cast<int>(std::ldexp(std::fabs(f16), 24))
                                      : (exponent + 14) * 1024 + static_cast<int>(mantissa * 2048) - 1024;
    out.push_back(static_cast<uint16_t>(bits | (std::signbit(f16) ? 0x8000 : 0)));
  }
  return out;
}

void for_each_format(const std::function<void(const void*, NumberFormat, int64_t)>& run) {
  const std::vector<float> values = awkward_values();
  for (const NumberFormat format : {NumberFormat::F32, NumberFormat::BF16, NumberFormat::F16}) {
    const std::vector<uint16_t> half = halves(values, format);
    for (const int64_t count : {1, 15, 16, 33, 77})
      run(format == NumberFormat::F32 ? static_cast<const void*>(values.data()) : half.data(), format, count);
  }
}

void quantize_row_parity() {
  for_each_format([](const void* data, NumberFormat format, int64_t count) {
    for (const CodeRange range :
         {CodeRange{CodeKind::Int, -8, 7}, CodeRange{CodeKind::Int, -128, 127}, CodeRange{CodeKind::E4M3, -448, 448},
          CodeRange{CodeKind::E2M3, -7.5f, 7.5f}, CodeRange{CodeKind::E2M1, -6, 6}}) {
      std::vector<float> scale, zero;
      for (int64_t i = 0; i < count; ++i) scale.push_back(i < 13 ? 1.0f : 0.3f + 0.01f * static_cast<float>(i % 5));
      for (int64_t i = 0; i < count; ++i)
        zero.push_back(range.kind != CodeKind::Int ? 0.0f : static_cast<float>(i % 3 - 1));
      std::vector<uint8_t> fast(static_cast<size_t>(count)), plain(static_cast<size_t>(count));
      fast_kernels().quantize_row({data, format, count, scale.data(), zero.data(), range, fast.data()});
      plain_kernels().quantize_row({data, format, count, scale.data(), zero.data(), range, plain.data()});
      EXPECT_EQ(fast, plain) << "format " << static_cast<int>(format) << " kind " << static_cast<int>(range.kind);
    }
  });
}

void value_range_parity() {
  for_each_format([](const void* data, NumberFormat format, int64_t count) {
    ValueRange fast{data, format, count, 0, 0}, plain = fast;
    fast_kernels().value_range(fast);
    plain_kernels().value_range(plain);
    EXPECT_EQ(fast.low, plain.low);
    EXPECT_EQ(fast.high, plain.high);
  });
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    for (const size_t place : {0u, 5u, 39u}) {
      std::vector<float> values(40, 1.0f);
      values[place] = bad;
      ValueRange fast{values.data(), NumberFormat::F32, 40, 0, 0}, plain = fast;
      fast_kernels().value_range(fast);
      plain_kernels().value_range(plain);
      EXPECT_TRUE(std::isnan(fast.low)) << bad << " at " << place;
      EXPECT_TRUE(std::isnan(plain.low));
    }
  }
}

void row_error_parity() {
  for_each_format([](const void* data, NumberFormat format, int64_t count) {
    std::vector<float> values(256), scale, zero;
    std::vector<uint8_t> codes;
    for (size_t i = 0; i < 256; ++i) values[i] = decode_code(CodeKind::Int, static_cast<uint8_t>(i));
    for (int64_t i = 0; i < count; ++i) {
      codes.push_back(static_cast<uint8_t>(37 * i));
      scale.push_back(0.3f + 0.01f * static_cast<float>(i % 5));
      zero.push_back(static_cast<float>(i % 3 - 1));
    }
    RowError fast{data, format, count, codes.data(), values.data(), scale.data(), zero.data(), 0, 0}, plain = fast;
    fast_kernels().row_error(fast);
    plain_kernels().row_error(plain);
    // All terms are positive: at most kErrorRun of a lane, then 16 lanes, each sum rounded by 2^-24, beside what rounds
    // a term.
    EXPECT_NEAR(fast.difference, plain.difference, 3e-6 * plain.difference) << count;
    EXPECT_NEAR(fast.whole, plain.whole, 3e-6 * plain.whole) << count;
  });
}

void quantize_blocks_parity() {
  for (const int64_t block : {2, 32, 54, 64}) {
    const int64_t count = 5 * block;
    std::vector<float> x(static_cast<size_t>(count));
    fill_noise(x.data(), count, 3);
    for (int64_t i = 0; i < block; ++i) x[static_cast<size_t>(2 * block + i)] = 0;
    x[static_cast<size_t>(block)] = 1e4f;  // an outlier
    x[static_cast<size_t>(3 * block + 1)] = NAN;
    x[static_cast<size_t>(4 * block)] = INFINITY;
    std::vector<int16_t> fast(x.size()), plain(x.size());
    std::vector<float> fast_scale(5), plain_scale(5);
    fast_kernels().quantize_blocks({x.data(), count, block, fast.data(), fast_scale.data()});
    plain_kernels().quantize_blocks({x.data(), count, block, plain.data(), plain_scale.data()});
    for (size_t i = 0; i < static_cast<size_t>(3 * block); ++i) EXPECT_EQ(fast[i], plain[i]) << block << " " << i;
    for (size_t b = 0; b < 3; ++b) EXPECT_EQ(fast_scale[b], plain_scale[b]);
    EXPECT_EQ(plain_scale[2], 0);
    for (const size_t bad : {3u, 4u}) EXPECT_TRUE(std::isnan(fast_scale[bad]) && std::isnan(plain_scale[bad])) << block;
    for (size_t i = 0; i < static_cast<size_t>(2 * block); ++i) {
      const float scale = plain_scale[i / static_cast<size_t>(block)];
      EXPECT_NEAR(x[i], scale * static_cast<float>(plain[i]), 0.501f * scale) << block << " " << i;
    }
  }
}

// The sums are exact up to the largest codes and the longest blocks, so both round the same products in the same order.
void integer_product_parity() {
  std::mt19937 random(5);
  for (const auto& [rows, columns, block, outputs] :
       {std::array<int64_t, 4>{19, 256, 64, 48}, {1, 512, 256, 48}, {8, 96, 32, 7}, {9, 36, 18, 33}}) {
    const int64_t blocks = columns / block, stride = outputs + 3;
    Aligned<int16_t> x(rows * columns), weight(columns * kPanel);
    Aligned<float> x_scale(rows * blocks), weight_scale(blocks * kPanel), fast(rows * stride), plain(rows * stride);
    for (int64_t i = 0; i < rows * columns; ++i)
      x[i] = i % 3 == 0 ? 32767 : static_cast<int16_t>(random() % 65535 - 32767);
    for (int64_t i = 0; i < columns; ++i) {
      for (int64_t o = 0; o < outputs; ++o)
        weight[i / 2 * 2 * kPanel + 2 * o + i % 2] = o == 0 ? 255 : static_cast<int16_t>(random() % 511 - 255);
    }
    fill_noise(x_scale.data(), rows * blocks, 1);
    fill_noise(weight_scale.data(), blocks * kPanel, 2);
    for (const bool add : {false, true}) {
      const auto run = [&](const KernelTable& table, float* out) {
        table.integer_product({rows, columns, block, x.data(), x_scale.data(), weight.data(), weight_scale.data(), out,
                               stride, outputs, add});
      };
      run(fast_kernels(), fast.data());
      run(plain_kernels(), plain.data());
      // Without a fused multiply-add (the baseline) every product is rounded once more: 2^-24 of sums up to 2^31,
      // twice.
      for (int64_t i = 0; i < rows * stride; ++i)
        ASSERT_NEAR(fast[i], plain[i], 1e3 + 1e-6 * std::fabs(plain[i])) << rows << " " << i;
    }
  }
}

const std::map<std::string, std::function<void()>>& parity_tests() {
  static const std::map<std::string, std::function<void()>> tests{{"gram_pack", gram_pack_parity},
                                                                  {"gram_tile", gram_tile_parity},
                                                                  {"gram_pack_planes", gram_pack_planes_parity},
                                                                  {"gram_plane_tile", gram_plane_tile_parity},
                                                                  {"cholesky_tile", cholesky_tile_parity},
                                                                  {"gptq_panel", gptq_panel_parity},
                                                                  {"search_scales", search_scales_parity},
                                                                  {"quantize_row", quantize_row_parity},
                                                                  {"value_range", value_range_parity},
                                                                  {"row_error", row_error_parity},
                                                                  {"refine_panel", refine_panel_parity},
                                                                  {"quantize_blocks", quantize_blocks_parity},
                                                                  {"integer_product", integer_product_parity},
                                                                  {"quantize_planes", quantize_planes_parity},
                                                                  {"plane_product", plane_product_parity},
                                                                  {"prune_gather", prune_gather_parity},
                                                                  {"prune_panel", prune_panel_parity},
                                                                  {"sparse_refit_panel", sparse_refit_panel_parity},
                                                                  {"rms_norm", rms_norm_parity},
                                                                  {"silu_multiply", silu_multiply_parity},
                                                                  {"rotate_heads", rotate_heads_parity},
                                                                  {"softmax_rows", softmax_rows_parity},
                                                                  {"largest_size", largest_size_parity},
                                                                  {"column_ranges", column_ranges_parity},
                                                                  {"round_to_integers", round_to_integers_parity},
                                                                  {"round_to_e4m3", round_to_e4m3_parity},
                                                                  {"round_to_e2m1", round_to_e2m1_parity},
                                                                  {"split_blocks", split_blocks_parity},
                                                                  {"packed_product", packed_product_parity},
                                                                  {"row_product", row_product_parity},
                                                                  {"dot_rows", dot_rows_parity},
                                                                  {"block_scores", block_scores_parity},
                                                                  {"block_values", block_values_parity},
                                                                  {"score_weights", score_weights_parity}};
  return tests;
}

// Instruction sets of this CPU that the kernels are compiled for. Tiles come with the first.
std::vector<int64_t> instruction_sets() {
  std::vector<int64_t> sets;
  for (const int64_t set : {HWY_AVX3_DL, HWY_AVX3, HWY_AVX2, HWY_SCALAR}) {
    const bool compiled = ((HWY_BROKEN_TARGETS)&set) == 0;  // builds with sanitizers leave some out
    if ((compiled && (hwy::SupportedTargets() & set) != 0) || set == HWY_SCALAR) sets.push_back(set);
  }
  return sets;
}

// The table is complete: each kernel has a fast and a plain version, which differ, and a parity test, which passes for
// every instruction set.
TEST(Kernels, EachHasATwinAndMeetsIt) {
  size_t kernels = 0;
  KernelTable::visit([&](const char* name, auto member) {
    SCOPED_TRACE(name);
    ++kernels;
    EXPECT_NE(fast_kernels().*member, nullptr);
    EXPECT_NE(plain_kernels().*member, nullptr);
    EXPECT_NE(fast_kernels().*member, plain_kernels().*member);
    ASSERT_TRUE(parity_tests().contains(name)) << "no parity test for " << name;
  });
  EXPECT_EQ(kernels, parity_tests().size());
  EXPECT_EQ(sizeof(KernelTable), kernels * sizeof(void*)) << "a kernel is missing in KernelTable::visit";
  std::set<std::string> seen;
  for (const int64_t set : instruction_sets()) {
    hwy::SetSupportedTargetsForTest(set);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    SCOPED_TRACE(instruction_set());
    seen.insert(instruction_set());
    for (const auto& [name, test] : parity_tests()) test();
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  EXPECT_EQ(seen.size(), instruction_sets().size());
}

}  // namespace
}  // namespace swage::kernels
