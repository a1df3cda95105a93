// Refinement on tiny problems: never worse, a fixed point where nothing is to be gained, equal to trying every single
// change.
#include "swage/solvers/refine.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"
#include "swage/solvers/gptq.h"

namespace swage::solvers {
namespace {

struct Refined {
  at::Tensor w_OI, gram_II;  // f32
  Grid grid;
  at::Tensor codes_OI;
};

GridSpec int4(int64_t group, bool symmetric = true) {
  GridSpec spec;
  spec.group_size = group;
  spec.symmetric = symmetric;
  spec.scale_dtype = at::kBFloat16;
  return spec;
}

Refined solved(int64_t rows, int64_t columns, const GridSpec& spec) {
  Refined p;
  p.w_OI = at::randn({rows, columns});
  const at::Tensor x_TI =
      at::mm(at::randn({4 * columns, columns}), at::randn({columns, columns}) * 0.2 + at::eye(columns));
  p.gram_II = at::mm(x_TI.t(), x_TI);
  p.grid = find_grid(p.w_OI, spec, {});
  p.codes_OI = gptq_solve(p.w_OI, gptq_factor(p.gram_II, {}), p.grid).codes_OI;
  return p;
}

double loss(const Refined& p) {
  const at::Tensor d_OI = (p.w_OI - dequantize_from_grid(p.codes_OI, p.grid)).to(at::kDouble);
  return at::mm(d_OI, p.gram_II.to(at::kDouble)).mul(d_OI).sum().item<double>();
}

TEST(Refine, LowersTheLossAndReportsIt) {
  at::manual_seed(1);
  for (const GridSpec& spec : {int4(32), int4(16, false), int4(0)}) {
    Refined p = solved(100, 64, spec);
    const double before = loss(p), reported = refine(p.w_OI, p.gram_II, {}, p.codes_OI, p.grid), after = loss(p);
    EXPECT_LT(after, 0.99 * before);
    EXPECT_NEAR(reported, after, 1e-3 * after);  // the gradient is carried along in f32
    EXPECT_TRUE(p.grid.scale_OG.equal(p.grid.scale_OG.to(at::kBFloat16).to(at::kFloat)));
    EXPECT_GE(p.codes_OI.min().item<int>(), -8);
    EXPECT_LE(p.codes_OI.max().item<int>(), 7);
  }
}

// After enough sweeps no single code can be changed for the better: tried, every code in both directions.
TEST(Refine, EndsWhereNoSingleCodeCanBeBettered) {
  at::manual_seed(2);
  Refined p = solved(3, 16, int4(8));
  refine(p.w_OI, p.gram_II, {.sweeps = 50}, p.codes_OI, p.grid);
  const double best = loss(p);
  for (int64_t o = 0; o < 3; ++o) {
    for (int64_t i = 0; i < 16; ++i) {
      for (const int step : {-1, 1}) {
        const int code = p.codes_OI[o][i].item<int>();
        if (code + step < -8 || code + step > 7) continue;
        p.codes_OI[o][i] = code + step;
        EXPECT_GE(loss(p), best * (1 - 1e-4)) << o << " " << i;
        p.codes_OI[o][i] = code;
      }
    }
  }
}

// A sweep first fits each row's scale to the codes it was given, then moves codes: after one sweep the scale is the
// least-squares solution for those, c H w / c H c.
TEST(Refine, TheScaleIsTheLeastSquaresOne) {
  at::manual_seed(3);
  GridSpec spec = int4(0);
  spec.scale_dtype = at::kFloat;
  Refined p = solved(20, 24, spec);
  const at::Tensor given_OI = p.codes_OI.to(at::kDouble), h = p.gram_II.to(at::kDouble);
  refine(p.w_OI, p.gram_II, {.sweeps = 1}, p.codes_OI, p.grid);
  EXPECT_FALSE(p.codes_OI.to(at::kDouble).equal(given_OI));
  for (int64_t o = 0; o < 20; ++o) {
    const at::Tensor pull_I = given_OI[o].matmul(h);
    const double expected = (pull_I.dot(p.w_OI[o].to(at::kDouble)) / pull_I.dot(given_OI[o])).item<double>();
    EXPECT_NEAR(p.grid.scale_OG[o][0].item<double>(), expected, 1e-5 * expected) << o;
  }
}

TEST(Refine, OtherGrids) {
  at::manual_seed(4);
  GridSpec fp8 = int4(32);
  fp8.type = CodeType::Fp8E4M3;
  fp8.code_min = -448, fp8.code_max = 448;
  GridSpec nvfp4 = int4(16);
  nvfp4.type = CodeType::Fp4E2M1;
  nvfp4.code_min = -6, nvfp4.code_max = 6;
  nvfp4.scale_dtype = at::kFloat8_e4m3fn;
  GridSpec mxfp4 = nvfp4;
  mxfp4.group_size = 32;
  mxfp4.scale_dtype = at::kByte;
  for (const GridSpec& spec : {fp8, nvfp4, mxfp4}) {
    Refined p = solved(50, 64, spec);
    const at::Tensor scale_OG = p.grid.scale_OG.clone();
    const double before = loss(p);
    refine(p.w_OI, p.gram_II, {}, p.codes_OI, p.grid);
    EXPECT_LT(loss(p), before);
    if (spec.scale_dtype == at::kByte) {
      EXPECT_TRUE(p.grid.scale_OG.equal(scale_OG));
    }
    if (spec.scale_dtype == at::kFloat8_e4m3fn) {
      const at::Tensor local = p.grid.scale_OG * p.grid.global_scale;
      EXPECT_TRUE(at::allclose(local, local.to(at::kFloat8_e4m3fn).to(at::kFloat), 1e-6, 0));
    }
  }
}

TEST(Refine, DoesNotDependOnThreadsAndLeavesWhatItCannotDo) {
  at::manual_seed(5);
  Refined one = solved(250, 64, int4(32)), two = one;
  two.codes_OI = one.codes_OI.clone();
  two.grid.scale_OG = one.grid.scale_OG.clone();
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const double a = refine(one.w_OI, one.gram_II, {}, one.codes_OI, one.grid);
  at::set_num_threads(2);
  const double b = refine(two.w_OI, two.gram_II, {}, two.codes_OI, two.grid);
  at::set_num_threads(threads);
  EXPECT_EQ(a, b);
  EXPECT_TRUE(one.codes_OI.equal(two.codes_OI) && one.grid.scale_OG.equal(two.grid.scale_OG));
  const at::Tensor codes_OI = one.codes_OI.clone();
  EXPECT_NEAR(refine(one.w_OI, one.gram_II, {.sweeps = 0}, one.codes_OI, one.grid), a, 1e-3 * a);
  EXPECT_TRUE(codes_OI.equal(one.codes_OI));
  EXPECT_THROW(refine(one.w_OI, at::eye(3), {}, one.codes_OI, one.grid), Error);
}

// Zeros of a pruned weight stay through GPTQ and its refinement, on grids with and without zero points, and cost less
// than if the codes were set to 0 afterwards.
TEST(Refine, KeepsTheZerosOfAPrunedWeight) {
  at::manual_seed(8);
  for (const GridSpec& spec : {int4(32), int4(16, false), int4(0)}) {
    Refined p = solved(100, 64, spec);
    const at::Tensor mask_OI = at::rand({100, 64}).gt(0.5);
    p.w_OI = p.w_OI * mask_OI;
    p.grid = find_grid(p.w_OI, spec, {});
    const GptqFactor factor = gptq_factor(p.gram_II, {});
    const at::Tensor free_OI = dequantize_from_grid(gptq_solve(p.w_OI, factor, p.grid).codes_OI, p.grid) * mask_OI;
    p.codes_OI = gptq_solve(p.w_OI, factor, p.grid, /*keep_zeros=*/true).codes_OI;
    EXPECT_TRUE(dequantize_from_grid(p.codes_OI, p.grid).index({mask_OI.logical_not()}).eq(0).all().item<bool>());
    const double plain = loss(p);
    const at::Tensor d_OI = (p.w_OI - free_OI).to(at::kDouble);
    EXPECT_LT(plain, at::mm(d_OI, p.gram_II.to(at::kDouble)).mul(d_OI).sum().item<double>());
    refine(p.w_OI, p.gram_II, {.keep_zeros = true}, p.codes_OI, p.grid);
    EXPECT_TRUE(dequantize_from_grid(p.codes_OI, p.grid).index({mask_OI.logical_not()}).eq(0).all().item<bool>());
    EXPECT_LT(loss(p), plain);
  }
}

}  // namespace
}  // namespace swage::solvers
