// SparseGPT against stored outputs of LLM Compressor, against the textbook form with an explicit inverse, and against
// all masks.
#include "swage/solvers/sparsegpt.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>

#include "swage/base/error.h"
#include "swage/solvers/prune_masks.h"
#include "swage/solvers/test_vectors.h"

namespace swage::solvers {
namespace {

GptqFactor natural_factor(const at::Tensor& gram_II, double dampening = 0.01) {
  return gptq_factor(gram_II, {.dampening = dampening, .act_order = ActOrder::None});
}

struct Problem {
  at::Tensor w_OI, gram_II;  // f32, f64
};

Problem problem(int64_t rows, int64_t columns) {
  const at::Tensor x_TI =
      at::mm(at::randn({3 * columns, columns}), at::randn({columns, columns}) * 0.3 + at::eye(columns)) *
      at::rand({columns}).mul(2).exp();
  return {at::randn({rows, columns}), at::mm(x_TI.t(), x_TI).to(at::kDouble)};
}

at::Tensor dampened(const at::Tensor& gram_II, double share) {
  return gram_II + at::eye(gram_II.size(0), at::kDouble) * (share * gram_II.diagonal().mean());
}

double loss(const at::Tensor& w_OI, const at::Tensor& q_OI, const at::Tensor& h_II) {
  const at::Tensor d_OI = (w_OI - q_OI).to(at::kDouble);
  return at::mm(d_OI, h_II).mul(d_OI).sum().item<double>();
}

// Algorithm 1 with the Cholesky factor of the inverse, all in f64; N of M.
at::Tensor textbook(const Problem& p, int64_t dropped, int64_t group) {
  const at::Tensor u_II = at::linalg_cholesky(at::linalg_inv(dampened(p.gram_II, 0.01)), /*upper=*/true);
  at::Tensor w_OI = p.w_OI.to(at::kDouble).clone();
  at::Tensor keep_OM;
  for (int64_t i = 0; i < w_OI.size(1); ++i) {
    if (i % group == 0) {
      const at::Tensor cost_OM = (w_OI.narrow(1, i, group) / u_II.diagonal().narrow(0, i, group)).square();
      keep_OM = at::ones_like(cost_OM).scatter(1, std::get<1>(cost_OM.topk(dropped, 1, /*largest=*/false)), 0.0);
    }
    const at::Tensor error_O = w_OI.select(1, i) * (1 - keep_OM.select(1, i % group)) / u_II[i][i];
    w_OI.narrow(1, i, w_OI.size(1) - i).sub_(at::outer(error_O, u_II[i].narrow(0, i, w_OI.size(1) - i)));
    w_OI.select(1, i).mul_(keep_OM.select(1, i % group));
  }
  return w_OI.to(at::kFloat);
}

TEST(SparseGpt, EqualsLlmCompressor) {
  const auto vectors = load_tensors(SWAGE_TEST_DATA "/solvers/pruned.safetensors");
  const at::Tensor gram_II = at::mm(vectors.at("inputs").t(), vectors.at("inputs")).to(at::kDouble);
  const GptqFactor factor = natural_factor(gram_II);
  const auto expect = [&](const std::string& name, const at::Tensor& w_OI, const SparseGptOptions& options) {
    const at::Tensor ours = sparsegpt_solve(w_OI, factor, options).w_OI, theirs = vectors.at(name);
    EXPECT_TRUE(ours.eq(0).equal(theirs.eq(0))) << name;
    // Their inverse is made in f32 of a matrix with a condition number near 1e3: 1e3 * 2^-24 relative, some steps of
    // it.
    EXPECT_TRUE(ours.allclose(theirs, 1e-3, 1e-3)) << name << " " << (ours - theirs).abs().max();
  };
  const at::Tensor w_OI = vectors.at("weight");
  expect("sparsegpt_2_4", w_OI, {.pattern = {0.5, 2, 4}});
  expect("sparsegpt_1_4", w_OI, {.pattern = {0.25, 1, 4}});
  expect("sparsegpt_4_8", w_OI, {.pattern = {0.5, 4, 8}});
  expect("sparsegpt_50_block_8", w_OI, {.pattern = {0.5}, .block_size = 8});
  expect("sparsegpt_60", w_OI, {.pattern = {0.6}});
  expect("sparsegpt_preserved", vectors.at("weight_with_zeros"), {.pattern = {0.5}, .preserve_mask = true});
}

TEST(SparseGpt, EqualsTheFormWithAnInverse) {
  at::manual_seed(3);
  const Problem p = problem(61, 96);
  for (const auto& [dropped, group] : {std::pair<int64_t, int64_t>{2, 4}, {3, 4}, {4, 8}, {1, 2}, {5, 12}, {12, 32}}) {
    const SparseResult result = sparsegpt_solve(p.w_OI, natural_factor(p.gram_II),
                                                {.pattern = {double(dropped) / double(group), dropped, group}});
    const at::Tensor expected_OI = textbook(p, dropped, group);
    // A near tie may go either way and change what comes after it in its row.
    const at::Tensor same_O = result.w_OI.eq(0).eq(expected_OI.eq(0)).all(1);
    EXPECT_GE(same_O.sum().item<int64_t>(), 60) << group;
    EXPECT_TRUE(result.w_OI.index({same_O}).allclose(expected_OI.index({same_O}), 1e-3, 1e-3)) << group;
    const double exact = loss(p.w_OI, result.w_OI, dampened(p.gram_II, 0.01));
    EXPECT_NEAR(result.loss, exact, 1e-3 * exact);
    EXPECT_EQ(result.w_OI.eq(0).sum().item<int64_t>(), 61 * 96 * dropped / group);
  }
}

// No mask with its exact least squares is better, and SparseGPT finds one that is not far off; all 2:4 masks of 8
// columns are tried.
TEST(SparseGpt, LiesAboveTheBestOfAllMasks) {
  at::manual_seed(4);
  const Problem p = problem(20, 8);
  const at::Tensor h_II = dampened(p.gram_II, 0.01);
  const at::Tensor q_OI = sparsegpt_solve(p.w_OI, natural_factor(p.gram_II), {.pattern = {0.5, 2, 4}}).w_OI;
  double best_sum = 0;
  for (int64_t o = 0; o < 20; ++o) {
    const at::Tensor w_I = p.w_OI[o].to(at::kDouble);
    double best = std::numeric_limits<double>::infinity();
    for (int mask = 0; mask < 256; ++mask) {
      if (__builtin_popcount(mask & 15) != 2 || __builtin_popcount(mask >> 4) != 2) continue;
      std::vector<int64_t> kept;
      for (int64_t i = 0; i < 8; ++i) {
        if ((mask >> i & 1) != 0) kept.push_back(i);
      }
      const at::Tensor kept_K = at::tensor(kept), pull_K = at::mv(h_II, w_I).index({kept_K});
      const at::Tensor fit_K = at::linalg_solve(h_II.index_select(0, kept_K).index_select(1, kept_K), pull_K);
      best = std::min(best, (at::dot(w_I, at::mv(h_II, w_I)) - at::dot(fit_K, pull_K)).item<double>());
    }
    const double ours = loss(p.w_OI.narrow(0, o, 1), q_OI.narrow(0, o, 1), h_II);
    EXPECT_GE(ours, best * (1 - 1e-4));
    best_sum += best;
  }
  EXPECT_LT(loss(p.w_OI, q_OI, h_II), 2 * best_sum);  // 1.2 to 1.6 for other seeds
}

TEST(SparseGpt, KeepsZerosWhereAsked) {
  at::manual_seed(5);
  Problem p = problem(50, 64);
  p.w_OI.mul_(at::rand({50, 64}).gt(0.3));
  for (const SparsityPattern& pattern : {SparsityPattern{0.5}, SparsityPattern{0.5, 2, 4}}) {
    const at::Tensor kept_OI =
        sparsegpt_solve(p.w_OI, natural_factor(p.gram_II), {.pattern = pattern, .preserve_mask = true}).w_OI;
    EXPECT_TRUE(kept_OI.index({p.w_OI.eq(0)}).eq(0).all().item<bool>());
    EXPECT_GE(kept_OI.eq(0).sum().item<int64_t>(), 50 * 32);
  }
  EXPECT_THROW(sparsegpt_solve(p.w_OI, natural_factor(p.gram_II), {.pattern = {0.1}, .preserve_mask = true}), Error);
}

TEST(SparseGpt, DoesNotDependOnTheThreads) {
  at::manual_seed(6);
  const Problem p = problem(150, 72);
  const GptqFactor factor = natural_factor(p.gram_II);
  for (const SparsityPattern& pattern : {SparsityPattern{0.6}, SparsityPattern{0.5, 2, 4}}) {
    at::set_num_threads(1);
    const SparseResult one = sparsegpt_solve(p.w_OI, factor, {.pattern = pattern, .block_size = 16});
    at::set_num_threads(2);
    const SparseResult two = sparsegpt_solve(p.w_OI, factor, {.pattern = pattern, .block_size = 16});
    EXPECT_TRUE(one.w_OI.equal(two.w_OI));
    EXPECT_EQ(one.loss, two.loss);
  }
}

TEST(SparseGpt, RefusesWhatDoesNotFit) {
  const Problem p = problem(4, 24);
  const GptqFactor factor = natural_factor(p.gram_II);
  EXPECT_THROW(sparsegpt_solve(p.w_OI, factor, {.pattern = {0.5, 4, 16}}), Error);  // 24 columns
  EXPECT_THROW(sparsegpt_solve(p.w_OI, factor, {.pattern = {0.5, 24, 48}}), Error);
  EXPECT_THROW(sparsegpt_solve(p.w_OI, factor, {.pattern = {0.5}, .block_size = 12}), Error);
  EXPECT_THROW(sparsegpt_solve(p.w_OI, factor, {.pattern = {1.0}}), Error);
  EXPECT_THROW(sparsegpt_solve(p.w_OI, factor, {.pattern = {1.0, 4, 4}}), Error);
  EXPECT_THROW(sparsegpt_solve(p.w_OI, gptq_factor(p.gram_II, {}), {.pattern = {0.5}}), Error);  // act-order
  EXPECT_THROW(sparsegpt_solve(p.w_OI.to(at::kDouble), factor, {.pattern = {0.5}}), Error);
}

TEST(PruneMasks, EqualLlmCompressorsWanda) {
  const auto vectors = load_tensors(SWAGE_TEST_DATA "/solvers/pruned.safetensors");
  const at::Tensor w_OI = vectors.at("weight"), diagonal_I = vectors.at("inputs").square().sum(0);
  const auto kept = [&](const std::string& name) { return vectors.at(name).ne(0); };
  // A weight that is 0 already is not among the kept in either.
  EXPECT_TRUE((wanda_mask(w_OI, diagonal_I, {0.5, 2, 4}) * w_OI).ne(0).equal(kept("wanda_2_4")));
  EXPECT_TRUE((wanda_mask(w_OI, diagonal_I, {0.4}) * w_OI).ne(0).equal(kept("wanda_40")));
}

TEST(PruneMasks, DropTheLeast) {
  at::manual_seed(7);
  const at::Tensor w_OI = at::randn({33, 40});
  const at::Tensor mask_OI = magnitude_mask(w_OI, {0.75});
  EXPECT_EQ(mask_OI.logical_not().sum().item<int64_t>(), 990);  // 0.75 * 33 * 40
  EXPECT_GE(w_OI.abs().index({mask_OI}).min().item<float>(),
            w_OI.abs().index({mask_OI.logical_not()}).max().item<float>());
  const at::Tensor groups = magnitude_mask(w_OI, {0.25, 1, 4}).view({-1, 4}),
                   least = std::get<1>(w_OI.abs().view({-1, 4}).min(1, true));
  EXPECT_TRUE(groups.logical_not().sum(1).eq(1).all().item<bool>());
  EXPECT_FALSE(groups.gather(1, least).any().item<bool>());
  EXPECT_TRUE(
      magnitude_mask(at::ones({1, 8}), {0.5}).equal(at::arange(8).ge(4).view({1, 8})));  // of equals the first go
  EXPECT_THROW(magnitude_mask(w_OI, {0.5, 3, 7}), Error);
  EXPECT_THROW(wanda_mask(w_OI, at::ones({39}), {0.5}), Error);
  EXPECT_THROW(wanda_mask(w_OI.to(at::kDouble), at::ones({40}), {0.5}), Error);
}

}  // namespace
}  // namespace swage::solvers
