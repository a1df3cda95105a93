// The kernels that prune meet their scalar twins; kernels_test.cpp runs these for every instruction set.
#include "swage/kernels/kernels.h"
#include "swage/kernels/parity_test_support.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

namespace swage::kernels {
namespace {

// N:M within the kernel, and as told; blocks that begin at 0 and later; some already dropped.
void prune_parity(bool gather_only) {
  constexpr int64_t kColumns = 72;
  for (const auto& [begin, group, dropped] :
       {std::array<int64_t, 3>{0, 4, 2}, {0, 8, 3}, {24, 2, 1}, {40, 0, 0}, {0, 12, 5}, {0, 0, 0}}) {
    struct Data {
      Aligned<float> weight{kColumns * kPanel}, m{gptq_m_offset(kColumns / kColumnGroup)}, d{kColumns},
          value{kColumns * kPanel}, keep{kColumns * kPanel}, loss{kPanel};
    };
    const auto run = [&, begin = begin, group = group, dropped = dropped](const KernelTable& table, Data& data) {
      fill_noise(data.weight.data(), kColumns * kPanel, 2);
      fill_noise(data.m.data(), gptq_m_offset(kColumns / kColumnGroup), 3, 0.1f);
      for (int64_t i = 0; i < kColumns; ++i) data.d[i] = 1.0f + 0.1f * static_cast<float>(i % 5);
      for (int64_t i = 0; i < kColumns * kPanel; ++i) data.keep[i] = i % 11 == 3 ? 0.0f : 1.0f;
      const PrunePanel panel{begin,         kColumns,          data.weight.data(), data.m.data(),
                             data.d.data(), data.value.data(), data.keep.data(),   group,
                             dropped,       data.loss.data()};
      table.prune_gather(panel);
      if (!gather_only) table.prune_panel(panel);
    };
    Data fast, plain;
    run(fast_kernels(), fast);
    run(plain_kernels(), plain);
    int64_t different = 0;
    for (int64_t i = 0; i < kColumns * kPanel; ++i) different += fast.keep[i] != plain.keep[i];
    // Sums in the same order with the same rounding, except on a CPU without fused multiply-add, where a near tie may
    // turn.
    ASSERT_LE(different, 4) << group;
    if (different != 0) continue;
    for (int64_t i = 0; i < kColumns * kPanel; ++i) {
      ASSERT_NEAR(fast.value[i], plain.value[i], 1e-4f) << group << " " << i;
      ASSERT_NEAR(fast.weight[i], plain.weight[i], 1e-4f) << group << " " << i;
    }
    for (int64_t i = 0; i < kPanel; ++i) ASSERT_NEAR(fast.loss[i], plain.loss[i], 1e-4f * plain.loss[i] + 1e-6f);
  }
}

}  // namespace

void prune_gather_parity() { prune_parity(true); }
void prune_panel_parity() { prune_parity(false); }

// Random symmetric positive H; supports of 2:4 and of 1:3 with stand-ins for the inverses, which only have to be the
// same.
void sparse_refit_panel_parity() {
  constexpr int64_t kCount = 24;
  const std::array<uint8_t, 12> pairs{0, 1, 0, 2, 0, 3, 1, 2, 1, 3, 2, 3};
  const std::array<uint8_t, 6> twos{0, 1, 0, 2, 1, 2};
  for (const int64_t group : {0, 4, 3}) {
    const int64_t supports = group == 4 ? 6 : 3, inverses = supports * 4 * kCount / (group == 0 ? kCount : group);
    Aligned<float> gram(kCount * kCount), inverse_diagonal(kCount), inverse(inverses);
    fill_noise(gram.data(), kCount * kCount, 1, 0.1f);
    for (int64_t i = 0; i < kCount; ++i) gram[i * kCount + i] = 2, inverse_diagonal[i] = 0.5f;
    for (int64_t i = 0; i < inverses; ++i)
      inverse[i] = (i % 4 == 0 || i % 4 == 3 ? 0.5f : 0.05f) + 0.001f * static_cast<float>(i % 7);
    struct Result {
      Aligned<float> gradient{kCount * kPanel}, value{kCount * kPanel}, change{kCount * kPanel};
    };
    const auto run = [&](const KernelTable& table, Result& r) {
      fill_noise(r.gradient.data(), kCount * kPanel, 4);
      fill_noise(r.value.data(), kCount * kPanel, 5);
      for (int64_t i = 0; i < kCount * kPanel; i += 3) r.value[i] = 0;
      table.sparse_refit_panel({kCount, gram.data(), inverse_diagonal.data(), r.gradient.data(), r.value.data(),
                                r.change.data(), group, 2, supports, group == 4 ? pairs.data() : twos.data(),
                                inverse.data()});
    };
    Result fast, plain;
    run(fast_kernels(), fast);
    run(plain_kernels(), plain);
    int64_t equal = 0;
    for (int64_t lane = 0; lane < kPanel; ++lane) {
      bool same = true;
      for (int64_t j = 0; j < kCount; ++j) {
        same = same && std::fabs(fast.value[j * kPanel + lane] - plain.value[j * kPanel + lane]) < 1e-4f;
        same = same && std::fabs(fast.change[j * kPanel + lane] - plain.change[j * kPanel + lane]) < 1e-4f;
      }
      equal += same;
    }
    EXPECT_GE(equal, kPanel - 1) << group;  // two supports that gain the same may be taken differently
  }
}

}  // namespace swage::kernels
