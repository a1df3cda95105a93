#include "swage/solvers/solver.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace swage::solvers {
namespace {

// Of the CPU it is the functions themselves.
TEST(Solver, OfTheCpuGivesWhatTheFunctionsGive) {
  at::manual_seed(2);
  const at::Tensor w_OI = at::randn({5, 64}), x_NI = at::randn({200, 64});
  const at::Tensor gram_II = at::mm(x_NI.t(), x_NI);
  GridSpec spec;
  spec.code_min = -8, spec.code_max = 7, spec.group_size = 32;
  const Grid grid = find_grid(w_OI, spec, {.kind = ScaleSearch::Kind::Absmax});
  const auto solver = solver_of(at::kCPU);
  const GptqFactor factor = solver->gptq_factor(gram_II, {}), expected = gptq_factor(gram_II, {});
  EXPECT_TRUE(at::equal(factor.m_II, expected.m_II) && at::equal(factor.permutation_I, expected.permutation_I));
  GptqResult solved = solver->gptq_solve(w_OI, factor, grid, false);
  EXPECT_TRUE(at::equal(solved.codes_OI, gptq_solve(w_OI, expected, grid).codes_OI));
  EXPECT_EQ(solver->squared_difference(w_OI, solved.codes_OI, grid),
            squared_error(w_OI, solved.codes_OI, grid).difference);
  Grid refined = grid, same = grid;
  at::Tensor codes_OI = solved.codes_OI.clone();
  same.scale_OG = grid.scale_OG.clone();
  const double loss = refine(w_OI, gram_II, {}, codes_OI, same);
  refined.scale_OG = grid.scale_OG.clone();
  EXPECT_EQ(solver->refine(w_OI, gram_II, {}, solved.codes_OI, refined), loss);
  EXPECT_TRUE(at::equal(solved.codes_OI, codes_OI) && at::equal(refined.scale_OG, same.scale_OG));
}

}  // namespace
}  // namespace swage::solvers
