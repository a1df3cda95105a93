// The corrected target against the least squares problem written out over all tokens.
#include "swage/solvers/target.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"

namespace swage::solvers {
namespace {

constexpr int64_t kInputs = 40, kOutputs = 70, kTokens = 600;

struct Tokens {
  at::Tensor x_IT, seen_IT, behind_OT;  // f64, columns are tokens

  // Inputs that lost a part which is predictable from what is left, and noise.
  explicit Tokens(uint64_t seed) {
    at::manual_seed(seed);
    x_IT = at::randn({kInputs, kTokens}, at::kDouble);
    at::manual_seed(1);
    const at::Tensor loss_II = at::randn({kInputs, kInputs}, at::kDouble) * 0.03,
                     behind_OI = at::randn({kOutputs, kInputs}, at::kDouble) * 0.05;
    at::manual_seed(seed + 100);
    seen_IT = x_IT - loss_II.mm(x_IT) + at::randn({kInputs, kTokens}, at::kDouble) * 0.02;
    behind_OT = behind_OI.mm(x_IT);
  }
  TargetMoments moments(bool residual) const {
    return {seen_IT.mm(seen_IT.t()), (x_IT - seen_IT).mm(seen_IT.t()),
            residual ? behind_OT.mm(seen_IT.t()) : at::Tensor()};
  }
  double error(const at::Tensor& w_OI, const at::Tensor& corrected_OI, bool residual) const {
    at::Tensor want_OT = w_OI.to(at::kDouble).mm(x_IT);
    if (residual) want_OT = want_OT + behind_OT;
    return (want_OT - corrected_OI.to(at::kDouble).mm(seen_IT)).square().sum().item<double>();
  }
};

TEST(CorrectTargets, SolvesTheLeastSquaresProblem) {
  const Tokens fit(10), held(20), fresh(30);
  const at::Tensor w_OI = at::randn({kOutputs, kInputs});
  for (const bool residual : {false, true}) {
    const CorrectedTarget target = correct_targets({w_OI}, fit.moments(residual), held.moments(residual))[0];
    // The normal equations over the tokens of both, by a general solver.
    const at::Tensor seen_IT = at::cat({fit.seen_IT, held.seen_IT}, 1), x_IT = at::cat({fit.x_IT, held.x_IT}, 1);
    at::Tensor lacking_OT = w_OI.to(at::kDouble).mm(x_IT - seen_IT);
    if (residual) lacking_OT = lacking_OT + at::cat({fit.behind_OT, held.behind_OT}, 1);
    const at::Tensor gram_II = seen_IT.mm(seen_IT.t());
    const at::Tensor damped_II =
        gram_II + at::eye(kInputs, at::kDouble) * (target.ridge * gram_II.diagonal().mean().item<double>());
    const at::Tensor want_OI = w_OI.to(at::kDouble) + at::linalg_solve(damped_II, seen_IT.mm(lacking_OT.t())).t();
    EXPECT_GT(target.ridge, 0);
    EXPECT_LE((target.weight_OI.to(at::kDouble) - want_OI).abs().max().item<double>(),
              1e-6);  // W* is rounded to f32: 2^-24 of numbers up to 4
    EXPECT_LT(fresh.error(w_OI, target.weight_OI, residual), 0.5 * fresh.error(w_OI, w_OI, residual));
    const double before = fit.error(w_OI, w_OI, residual);
    EXPECT_GT(target.fitted, 0);
    EXPECT_GT(target.held_out, 0);
    EXPECT_NEAR(target.fitted * w_OI.to(at::kDouble).mm(fit.seen_IT).square().sum().item<double>(),
                before - fit.error(w_OI, target.weight_OI, residual), 1e-3 * before);
  }
}

TEST(CorrectTargets, LeavesTheWeightWhereNothingHelpsOnTokensHeldOut) {
  Tokens fit(10), held(20);
  at::manual_seed(3);
  fit.x_IT = fit.seen_IT + at::randn({kInputs, kTokens}, at::kDouble);  // noise that nothing predicts
  held.x_IT = held.seen_IT - (fit.x_IT - fit.seen_IT).mm(fit.seen_IT.t()).mm(held.seen_IT) / kTokens;
  const at::Tensor w_OI = at::randn({kOutputs, kInputs});
  const CorrectedTarget target = correct_targets({w_OI}, fit.moments(false), held.moments(false))[0];
  EXPECT_EQ(target.ridge, 0);
  EXPECT_TRUE(target.weight_OI.equal(w_OI));
  EXPECT_THROW(correct_targets({at::randn({3, 5})}, fit.moments(false), held.moments(false)), Error);
}

}  // namespace
}  // namespace swage::solvers
