// The refit on tiny problems: never worse, ends at the least squares of its support, and at supports that no other one
// betters.
#include "swage/solvers/sparse_refit.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"
#include "swage/solvers/sparsegpt.h"

namespace swage::solvers {
namespace {

struct Pruned {
  at::Tensor w_OI, gram_II, q_OI;  // f32
};

Pruned pruned(int64_t rows, int64_t columns, const SparsityPattern& pattern) {
  const at::Tensor x_TI =
      at::mm(at::randn({4 * columns, columns}), at::randn({columns, columns}) * 0.2 + at::eye(columns));
  Pruned p{at::randn({rows, columns}), at::mm(x_TI.t(), x_TI), {}};
  p.q_OI = sparsegpt_solve(p.w_OI, gptq_factor(p.gram_II, {.act_order = ActOrder::None}), {.pattern = pattern}).w_OI;
  return p;
}

double loss(const Pruned& p, const at::Tensor& q_OI) {
  const at::Tensor d_OI = (p.w_OI - q_OI).to(at::kDouble);
  return at::mm(d_OI, p.gram_II.to(at::kDouble)).mul(d_OI).sum().item<double>();
}

// The values with the least loss whose support is that of q_I, in f64.
at::Tensor least_squares(const Pruned& p, int64_t row, const at::Tensor& q_I) {
  const at::Tensor h_II = p.gram_II.to(at::kDouble), kept_K = q_I.nonzero().squeeze(1);
  const at::Tensor pull_K = at::mv(h_II, p.w_OI[row].to(at::kDouble)).index({kept_K});
  const at::Tensor fit_K = at::linalg_solve(h_II.index_select(0, kept_K).index_select(1, kept_K), pull_K);
  return at::zeros({q_I.size(0)}, at::kDouble).index_put({kept_K}, fit_K);
}

TEST(SparseRefit, LowersTheLossAndReportsIt) {
  at::manual_seed(1);
  for (const SparsityPattern& pattern :
       {SparsityPattern{0.5}, SparsityPattern{0.5, 2, 4}, SparsityPattern{0.5, 4, 8}, SparsityPattern{0.375, 6, 16}}) {
    Pruned p = pruned(130, 208, pattern);
    double before = loss(p, p.q_OI);
    const int64_t zeros = p.q_OI.eq(0).sum().item<int64_t>();
    for (int sweep = 0; sweep < 3; ++sweep) {
      const double reported = sparse_refit(p.w_OI, p.gram_II, {.pattern = pattern, .sweeps = 1}, p.q_OI),
                   after = loss(p, p.q_OI);
      EXPECT_LT(after, before);
      EXPECT_NEAR(reported, after, 1e-3 * after);  // the gradient is carried along in f32
      before = after;
    }
    EXPECT_EQ(p.q_OI.eq(0).sum().item<int64_t>(), zeros);
  }
}

TEST(SparseRefit, EndsAtTheLeastSquaresOfTheSupport) {
  at::manual_seed(2);
  for (const bool swap : {false, true}) {
    Pruned p = pruned(5, 24, {0.5, 2, 4});
    const at::Tensor support = p.q_OI.ne(0).clone();
    sparse_refit(p.w_OI, p.gram_II, {.pattern = {0.5, 2, 4}, .sweeps = 300, .swap = swap}, p.q_OI);
    EXPECT_TRUE(swap || p.q_OI.ne(0).equal(support));
    for (int64_t row = 0; row < 5; ++row)
      EXPECT_TRUE(p.q_OI[row].to(at::kDouble).allclose(least_squares(p, row, p.q_OI[row]), 1e-3, 1e-3));
  }
}

// All supports of every group are tried, with all other columns as they are.
TEST(SparseRefit, EndsWhereNoOtherSupportOfAGroupIsBetter) {
  at::manual_seed(3);
  Pruned p = pruned(6, 16, {0.5, 2, 4});
  sparse_refit(p.w_OI, p.gram_II, {.pattern = {0.5, 2, 4}, .sweeps = 300}, p.q_OI);
  const at::Tensor h_II = p.gram_II.to(at::kDouble);
  for (int64_t row = 0; row < 6; ++row) {
    const double best = loss({p.w_OI.narrow(0, row, 1), p.gram_II, {}}, p.q_OI.narrow(0, row, 1));
    for (int64_t first = 0; first < 16; first += 4) {
      for (int64_t a = 0; a < 4; ++a) {
        for (int64_t b = a + 1; b < 4; ++b) {
          at::Tensor q_I = p.q_OI[row].to(at::kDouble).clone();
          q_I.narrow(0, first, 4).zero_();
          const at::Tensor kept_K = at::tensor({first + a, first + b});
          const at::Tensor pull_K = at::mv(h_II, p.w_OI[row] - q_I).index({kept_K});
          q_I.index_put_({kept_K}, at::linalg_solve(h_II.index_select(0, kept_K).index_select(1, kept_K), pull_K));
          EXPECT_GE(loss({p.w_OI.narrow(0, row, 1), p.gram_II, {}}, q_I.view({1, 16})), best * (1 - 1e-4))
              << row << " " << first << " " << a << b;
        }
      }
    }
  }
}

// A dead column has no gradient, and two equal columns no unique solution: neither makes a NaN.
TEST(SparseRefit, SurvivesSingularMatrices) {
  at::manual_seed(4);
  for (const SparsityPattern& pattern : {SparsityPattern{0.5}, SparsityPattern{0.5, 2, 4}}) {
    Pruned p = pruned(7, 16, pattern);
    at::Tensor x_TI = at::randn({40, 16});
    x_TI.select(1, 3).zero_();
    x_TI.select(1, 6).copy_(x_TI.select(1, 5));
    p.gram_II = at::mm(x_TI.t(), x_TI);
    const double before = loss(p, p.q_OI);
    sparse_refit(p.w_OI, p.gram_II, {.pattern = pattern, .sweeps = 20}, p.q_OI);
    EXPECT_TRUE(p.q_OI.isfinite().all().item<bool>());
    EXPECT_LE(loss(p, p.q_OI), before);
  }
}

TEST(SparseRefit, DoesNotDependOnTheThreads) {
  at::manual_seed(5);
  const Pruned p = pruned(300, 104, {0.5, 2, 4});
  at::Tensor one = p.q_OI.clone(), two = p.q_OI.clone();
  at::set_num_threads(1);
  const double loss_one = sparse_refit(p.w_OI, p.gram_II, {.pattern = {0.5, 2, 4}}, one);
  at::set_num_threads(2);
  EXPECT_EQ(sparse_refit(p.w_OI, p.gram_II, {.pattern = {0.5, 2, 4}}, two), loss_one);
  EXPECT_TRUE(one.equal(two));
  EXPECT_THROW(sparse_refit(p.w_OI.to(at::kDouble), p.gram_II, {}, one), Error);
}

}  // namespace
}  // namespace swage::solvers
