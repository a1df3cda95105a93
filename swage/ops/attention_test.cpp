#include "swage/ops/attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "swage/ops/relative_error_test_support.h"

namespace swage::ops {
namespace {

AttentionForm form(const at::Tensor& q_THE, int64_t window) {
  return {.scale = 1 / std::sqrt(double(q_THE.size(2))), .window = window};
}

// The definition: every head by itself, scores outside the visible range removed, in float64.
at::Tensor plain_attention(const at::Tensor& q_THE, const at::Tensor& k_GSE, const at::Tensor& v_GSE, int64_t window,
                           bool causal = true, const at::Tensor& bias_HTS = {}) {
  const int64_t queries = q_THE.size(0), heads = q_THE.size(1), keys = k_GSE.size(1), repeats = heads / k_GSE.size(0);
  const at::Tensor position_T1 = at::arange(keys - queries, keys).unsqueeze(1), position_S = at::arange(keys);
  at::Tensor hidden_TS = causal ? position_S > position_T1 : at::zeros({queries, keys}, at::kBool);
  if (!causal && window > 0) hidden_TS = position_S >= position_T1 + window;
  if (window > 0) hidden_TS = hidden_TS.logical_or(position_S <= position_T1 - window);
  std::vector<at::Tensor> out;
  for (int64_t head = 0; head < heads; ++head) {
    const at::Tensor k_SE = k_GSE[head / repeats].to(at::kDouble), v_SE = v_GSE[head / repeats].to(at::kDouble);
    at::Tensor score_TS = q_THE.select(1, head).to(at::kDouble).mm(k_SE.t()) / std::sqrt(double(q_THE.size(2)));
    if (bias_HTS.defined()) score_TS.add_(bias_HTS[head]);
    out.push_back(score_TS.masked_fill(hidden_TS, -INFINITY).softmax(-1).mm(v_SE));
  }
  return at::cat(out, 1);
}

struct Sizes {
  int64_t queries, keys, heads, groups, size, window;
};

class Attend : public testing::TestWithParam<Sizes> {};

TEST_P(Attend, IsTheDefinition) {
  const auto [queries, keys, heads, groups, size, window] = GetParam();
  at::manual_seed(11);
  const at::Tensor q_THE = at::randn({queries, heads, size});
  const at::Tensor k_GSE = at::randn({keys, groups, size}).transpose(0, 1), v_GSE = at::randn({groups, keys, size});
  const at::Tensor out_TC = attend(q_THE, k_GSE, v_GSE, form(q_THE, window));
  EXPECT_TRUE(out_TC.is_contiguous());
  // sums of up to 1100 float32 terms in blocks
  EXPECT_LE(relative_error(out_TC, plain_attention(q_THE, k_GSE, v_GSE, window)), 1e-5);
}

// The path of other devices, which queries that are not contiguous take too.
TEST_P(Attend, ThroughLibtorchIsTheSame) {
  const auto [queries, keys, heads, groups, size, window] = GetParam();
  at::manual_seed(13);
  const at::Tensor q_THE = at::randn({queries, heads, 2 * size}).narrow(2, 0, size);
  const at::Tensor k_GSE = at::randn({groups, keys, size}), v_GSE = at::randn({keys, groups, size}).transpose(0, 1);
  EXPECT_LE(relative_error(attend(q_THE, k_GSE, v_GSE, form(q_THE, window)),
                           attend(q_THE.contiguous(), k_GSE, v_GSE, form(q_THE, window))),
            1e-5);
}

// As many queries as keys, or those of another sequence.
TEST_P(Attend, BothWaysIsTheDefinition) {
  const auto [queries, keys, heads, groups, size, window] = GetParam();
  at::manual_seed(17);
  const at::Tensor q_THE = at::randn({queries, heads, size}), k_GSE = at::randn({groups, keys, size}),
                   v_GSE = at::randn({groups, keys, size}), bias_HTS = at::randn({heads, queries, keys});
  AttentionForm both = form(q_THE, window);
  both.causal = false;
  EXPECT_LE(relative_error(attend(q_THE, k_GSE, v_GSE, both), plain_attention(q_THE, k_GSE, v_GSE, window, false)),
            1e-5);
  for (const bool causal : {false, true}) {
    both.causal = causal;
    both.bias_HTS = bias_HTS;
    EXPECT_LE(relative_error(attend(q_THE, k_GSE, v_GSE, both),
                             plain_attention(q_THE, k_GSE, v_GSE, window, causal, bias_HTS)),
              1e-5);
  }
  if (window > 0) return;  // other devices have no kernel for windows on both sides
  const at::Tensor strided_THE = at::cat({q_THE, q_THE}, 2).narrow(2, 0, size);
  AttentionForm plain = form(q_THE, 0);
  plain.causal = false;
  EXPECT_LE(relative_error(attend(strided_THE, k_GSE, v_GSE, plain), attend(q_THE, k_GSE, v_GSE, plain)), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Sizes, Attend,
                         testing::Values(Sizes{12, 12, 6, 2, 16, 0},  // grouped
                                         Sizes{12, 12, 4, 4, 8, 5},   // window shorter than the sequence
                                         Sizes{12, 12, 4, 4, 8, 12},  // window that holds all of it
                                         Sizes{1, 30, 6, 3, 16, 0},   // decoding
                                         Sizes{1, 30, 6, 3, 16, 7},   // decoding in a window
                                         Sizes{5, 30, 6, 3, 16, 0},   // a piece after a prefix
                                         Sizes{5, 30, 6, 3, 16, 4}, Sizes{1100, 1100, 2, 1, 8, 100},  // several chunks
                                         Sizes{600, 1100, 2, 1, 8, 700}));

}  // namespace
}  // namespace swage::ops
