// The refinement kernel and its twin; kernels_test.cpp runs it for every instruction set.
#include <gtest/gtest.h>

#include <vector>

#include "swage/kernels/kernels.h"
#include "swage/kernels/parity_test_support.h"

namespace swage::kernels {

// The loss that the kernel lowers, of one lane: (W - Q) H (W - Q)^T, from the change that it reports.
void refine_panel_parity() {
  constexpr int64_t kCount = 24;
  for (const CodeKind kind : {CodeKind::Int, CodeKind::E2M1}) {
    Aligned<float> gram(kCount * kCount), inverse(kCount), error(kCount * kPanel), start(kCount * kPanel),
        scale(kPanel), zero(kPanel);
    Aligned<float> noise(kCount * 40);
    fill_noise(noise.data(), kCount * 40, 1);
    for (int64_t i = 0; i < kCount; ++i) {
      for (int64_t j = 0; j < kCount; ++j) {
        for (int64_t t = 0; t < 40; ++t) gram[i * kCount + j] += noise[i * 40 + t] * noise[j * 40 + t];
      }
      inverse[i] = 1 / gram[i * kCount + i];
    }
    Aligned<float> keep(kCount * kPanel);
    for (int64_t i = 0; i < kCount * kPanel; ++i) keep[i] = i % 4 == 1 ? 0.0f : 1.0f;
    fill_noise(error.data(), kCount * kPanel, 2, 0.3f);
    for (int64_t i = 0; i < kCount * kPanel; ++i) start[i] = static_cast<float>(i % 5 - 2);
    for (int64_t i = 0; i < kPanel; ++i) {
      scale[i] = 0.25f + 0.01f * static_cast<float>(i);
      zero[i] = kind == CodeKind::Int && i % 2 == 1 ? 1.0f : 0.0f;
    }
    const float largest = kind == CodeKind::Int ? 7.0f : 6.0f;
    const ScaleRule rule{ScaleFormat::BF16, kind, 0x1p-7f, 1};
    for (const bool refit : {true, false}) {
      struct Result {
        Aligned<float> gradient{kCount * kPanel}, code{kCount * kPanel}, scale{kPanel}, change{kCount * kPanel};
      };
      const auto run = [&](const KernelTable& table, Result& r) {
        for (int64_t i = 0; i < kCount * kPanel; ++i) r.code[i] = start[i];
        for (int64_t lane = 0; lane < kPanel; ++lane) {
          r.scale[lane] = scale[lane];
          for (int64_t j = 0; j < kCount; ++j) {
            for (int64_t i = 0; i < kCount; ++i)
              r.gradient[j * kPanel + lane] += error[i * kPanel + lane] * gram[i * kCount + j];
          }
        }
        table.refine_panel({kCount,
                            gram.data(),
                            inverse.data(),
                            r.gradient.data(),
                            r.code.data(),
                            r.scale.data(),
                            zero.data(),
                            refit,
                            rule,
                            {kind, -largest, largest},
                            r.change.data(),
                            refit ? nullptr : keep.data()});
      };
      Result fast, plain;
      run(fast_kernels(), fast);
      run(plain_kernels(), plain);
      const auto loss = [&](Result* r, int64_t lane) {
        double sum = 0;
        const auto left = [&](int64_t i) {
          return double(error[i * kPanel + lane]) - (r == nullptr ? 0.0 : double(r->change[i * kPanel + lane]));
        };
        for (int64_t i = 0; i < kCount; ++i) {
          for (int64_t j = 0; j < kCount; ++j) sum += left(i) * double(gram[i * kCount + j]) * left(j);
        }
        return sum;
      };
      int64_t equal = 0;
      for (int64_t lane = 0; lane < kPanel; ++lane) {
        // Both only ever step down; where a value lies halfway, rounding may lead them to different codes.
        EXPECT_LE(loss(&fast, lane), loss(nullptr, lane) * 1.0001) << lane;
        EXPECT_LE(loss(&plain, lane), loss(nullptr, lane) * 1.0001) << lane;
        EXPECT_NEAR(fast.scale[lane], plain.scale[lane], 0.004f * plain.scale[lane]);  // one step of bf16
        bool same = fast.scale[lane] == plain.scale[lane];
        for (int64_t i = 0; i < kCount; ++i)
          same = same && fast.code[i * kPanel + lane] == plain.code[i * kPanel + lane];
        equal += same ? 1 : 0;
      }
      EXPECT_GE(equal, kPanel - 2);
    }
  }
}

}  // namespace swage::kernels
