#include "swage/model/recurrence.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "swage/model/sparse_attention.h"

namespace swage::model {
namespace {

constexpr int64_t kTokens = 20, kHeads = 4, kKeyHeads = 2, kKey = 3, kValue = 5;

graph::RecurrenceNode node_of(bool delta) {
  graph::RecurrenceNode out;
  out.heads = kHeads;
  out.key_heads = kKeyHeads;
  out.key_size = kKey;
  out.value_size = kValue;
  out.query_scale = 0.5;
  out.delta = out.unit_keys = delta;
  out.steps_values = !delta;
  out.beta_factor = 2;
  return out;
}

Recurrence numbers_of() { return {at::rand({kHeads}), at::randn({kHeads}), at::randn({kHeads})}; }

RecurrenceInput input_of(bool delta) {
  return {at::randn({kTokens, kKeyHeads * kKey}), at::randn({kTokens, kKeyHeads * kKey}),
          at::randn({kTokens, kHeads * kValue}), at::randn({kTokens, kHeads}),
          delta ? at::randn({kTokens, kHeads}) : at::Tensor()};
}

RecurrenceInput rows_of(const RecurrenceInput& input, int64_t first, int64_t count) {
  const auto rows = [&](const at::Tensor& x) { return x.defined() ? x.narrow(0, first, count) : x; };
  return {rows(input.query), rows(input.key), rows(input.value), rows(input.gate), rows(input.beta)};
}

TEST(Recurrence, DoesNotDependOnHowASequenceIsCut) {
  at::manual_seed(3);
  for (const bool delta : {false, true}) {
    const graph::RecurrenceNode node = node_of(delta);
    const Recurrence numbers = numbers_of();
    const RecurrenceInput input = input_of(delta);
    at::Tensor whole_state, state;
    const at::Tensor whole = recur(numbers, node, input, whole_state);
    std::vector<at::Tensor> pieces;
    int64_t first = 0;
    for (const int64_t count : {7, 1, 12}) {
      pieces.push_back(recur(numbers, node, rows_of(input, first, count), state));
      first += count;
    }
    EXPECT_TRUE(at::equal(at::cat(pieces), whole)) << delta;
    EXPECT_TRUE(at::equal(state, whole_state)) << delta;
  }
}

// Head by head and token by token in double: 20 chained steps of 2^-24, times the condition of their sums.
TEST(Recurrence, IsItsFormula) {
  at::manual_seed(4);
  for (const bool delta : {false, true}) {
    const graph::RecurrenceNode node = node_of(delta);
    const Recurrence numbers = numbers_of();
    const RecurrenceInput input = input_of(delta);
    at::Tensor state;
    const at::Tensor out = recur(numbers, node, input, state).view({kTokens, kHeads, kValue}).to(at::kDouble);
    const at::Tensor steps = at::softplus(input.gate.add(numbers.gate_bias)).to(at::kDouble);
    for (int64_t h = 0; h < kHeads; ++h) {
      at::Tensor s = at::zeros({kKey, kValue}, at::kDouble);
      for (int64_t t = 0; t < kTokens; ++t) {
        const auto of_head = [&](const at::Tensor& x, int64_t size, int64_t head) {
          return x[t].narrow(0, head * size, size).to(at::kDouble);
        };
        at::Tensor q = of_head(input.query, kKey, h / 2), k = of_head(input.key, kKey, h / 2);
        const at::Tensor v = of_head(input.value, kValue, h);
        if (delta) q = q / (q.square().sum() + 1e-6).sqrt(), k = k / (k.square().sum() + 1e-6).sqrt();
        s = s * at::exp(-numbers.rates[h].to(at::kDouble) * steps[t][h]);
        const at::Tensor u =
            delta ? (v - at::mv(s.t(), k)) * at::sigmoid(input.beta[t][h].to(at::kDouble)) * 2 : v * steps[t][h];
        s = s + at::outer(k, u);
        const at::Tensor expected = at::mv(s.t(), q * 0.5) + v * numbers.skip_H[h].to(at::kDouble);
        EXPECT_LE((out[t][h] - expected).abs().max().item<double>(), 20 * 50 * 0x1p-24) << delta << " " << t;
      }
    }
  }
}

TEST(Convolution, DoesNotDependOnHowASequenceIsCut) {
  at::manual_seed(5);
  graph::ConvolutionNode node{};
  node.kernel = 4;
  node.activation = graph::Activation::Silu;
  const Convolution convolution{at::randn({6, 4}), at::randn({6})};
  const at::Tensor x = at::randn({kTokens, 6});
  at::Tensor whole_past, past;
  const at::Tensor whole = convolve(convolution, node, x, whole_past);
  std::vector<at::Tensor> pieces;
  int64_t first = 0;
  for (const int64_t count : {2, 1, 17}) {
    pieces.push_back(convolve(convolution, node, x.narrow(0, first, count), past));
    first += count;
  }
  EXPECT_TRUE(at::equal(at::cat(pieces), whole));
  const at::Tensor sums =
      at::conv1d(at::cat({at::zeros({3, 6}), x}).t().unsqueeze(0), convolution.weight_CJ.unsqueeze(1),
                 convolution.bias_C, at::IntArrayRef{1}, at::IntArrayRef{0}, at::IntArrayRef{1}, 6);
  EXPECT_LE((at::silu(sums[0].t()) - whole).abs().max().item<double>(), 1e-5);
}

TEST(ChosenKeys, AreThoseOfTheLargestScoresAndNoneBehind) {
  at::manual_seed(6);
  const at::Tensor query = at::randn({5, 2, 4}), key = at::randn({8, 4}), weights = at::rand({5, 2});
  const at::Tensor all = chosen_keys(query, key, weights, 8);
  EXPECT_TRUE(at::equal(all, at::ones({5, 8}, at::kBool).tril(3)));
  const at::Tensor three = chosen_keys(query, key, weights, 3);
  EXPECT_TRUE(three.sum(-1).le(3).all().item<bool>());
  const at::Tensor scores = (at::einsum("tie,se->tis", {query, key}).relu() * weights.unsqueeze(-1))
                                .sum(1)
                                .masked_fill(all.logical_not(), -1);
  const at::Tensor least = scores.masked_fill(three.logical_not(), 1e9).amin(-1);
  EXPECT_TRUE((scores.masked_fill(three, -1).amax(-1) <= least).all().item<bool>());
}

TEST(ChosenKeys, AttentionToAllOfThemIsAttention) {
  at::manual_seed(7);
  const at::Tensor q = at::randn({5, 4, 6}), k = at::randn({2, 8, 6}), v = at::randn({2, 8, 3});
  const ops::AttentionForm form{0.4};
  const at::Tensor expected = ops::attend(q, k, v, form);
  const at::Tensor found = attend_chosen(q, k, v, at::ones({5, 8}, at::kBool).tril(3), form);
  EXPECT_LE((found - expected).abs().max().item<double>(), 1e-6);
}

}  // namespace
}  // namespace swage::model
