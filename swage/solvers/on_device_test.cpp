// The solvers for GPUs against those for the CPU, from the same inputs.
#include "swage/solvers/on_device.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>

#include "swage/base/error.h"
#include "swage/ops/device_test_support.h"

namespace swage::solvers {
namespace {

using ops::Where, ops::name_of;

class OnDeviceSolver : public ops::OnDevice {
 protected:
  static DeviceSolver solver() { return DeviceSolver(table()); }
};
SWAGE_ON_DEVICE(OnDeviceSolver);

GridSpec int4_spec(int64_t group, bool symmetric) {
  return {.symmetric = symmetric, .group_size = group, .scale_dtype = at::kBFloat16};
}

// Inputs whose columns go together, as those of a model do.
at::Tensor gram_of(int64_t columns, int64_t tokens) {
  const at::Tensor x_TI = at::mm(at::randn({tokens, columns}, at::kDouble),
                                 at::eye(columns, at::kDouble) + at::randn({columns, columns}, at::kDouble).mul(0.3));
  return at::mm(x_TI.t(), x_TI);
}

double share_equal(const at::Tensor& a, const at::Tensor& b) {
  return at::eq(a.cpu(), b.cpu()).to(at::kDouble).mean().item<double>();
}

GptqFactor there(GptqFactor factor, at::Device device) {
  for (at::Tensor* tensor : {&factor.m_II, &factor.d_I, &factor.permutation_I, &factor.dead_I}) {
    if (tensor->defined()) *tensor = tensor->to(device);
  }
  return factor;
}

// Sums of errors in another order may prefer the neighbour of a candidate that is as good: one group in a hundred at
// most.
TEST_P(OnDeviceSolver, ScalesAreThoseOfTheCpu) {
  at::manual_seed(11);
  const at::Tensor w_OI = at::randn({larger(3, 200), 256}), importance_I = at::randn({256}).abs_().add_(0.01);
  for (const auto& [spec, norm, weighed] :
       {std::tuple{int4_spec(128, true), 2.0, true}, std::tuple{int4_spec(64, false), 2.4, false},
        std::tuple{int4_spec(0, true), 2.4, true}}) {
    const ScaleSearch search{.norm = norm, .importance_I = weighed ? importance_I : at::Tensor()};
    const Grid expected = find_grid(w_OI, spec, search), got = solver().find_grid(w_OI.to(device()), spec, search);
    EXPECT_GE(share_equal(got.scale_OG, expected.scale_OG), 0.99) << spec.group_size;
    if (!spec.symmetric) {
      EXPECT_GE(share_equal(got.zero_point_OG, expected.zero_point_OG), 0.99);
    }
  }
}

TEST_P(OnDeviceSolver, AWeightThatIsNotFiniteIsRefused) {
  at::Tensor w_OI = at::randn({2, 64});
  w_OI[1][5] = INFINITY;
  EXPECT_THROW(solver().find_grid(w_OI.to(device()), int4_spec(32, true), {}), Error);
}

// Both factor in f64; what differs is far below f32.
TEST_P(OnDeviceSolver, FactorIsThatOfTheCpu) {
  at::manual_seed(12);
  at::Tensor gram_II = gram_of(200, 400);
  gram_II[7].zero_();
  gram_II.select(1, 7).zero_();
  for (const ActOrder order : {ActOrder::None, ActOrder::Static}) {
    const GptqOptions options{.act_order = order};
    const GptqFactor expected = gptq_factor(gram_II, options),
                     got = solver().gptq_factor(gram_II.to(device()), options);
    EXPECT_LT((got.m_II.cpu() - expected.m_II).abs().max().item<double>(), 1e-6);
    EXPECT_LT(((got.d_I.cpu() - expected.d_I) / expected.d_I).abs().max().item<double>(), 1e-6);
    EXPECT_TRUE(got.dead_I.cpu().equal(expected.dead_I));
    if (order == ActOrder::Static) {
      EXPECT_TRUE(got.permutation_I.cpu().equal(expected.permutation_I));
    }
    EXPECT_NEAR(got.dampening_added, expected.dampening_added, 1e-12 * expected.dampening_added);
  }
}

TEST_P(OnDeviceSolver, DampeningIsRaisedWhereTheMatrixIsSingular) {
  at::manual_seed(13);
  const at::Tensor gram_II = gram_of(100, 20);
  const GptqOptions options{.dampening = 0};
  const GptqFactor expected = gptq_factor(gram_II, options), got = solver().gptq_factor(gram_II.to(device()), options);
  EXPECT_EQ(got.retries, expected.retries);
  EXPECT_EQ(got.dampening_used, expected.dampening_used);
}

struct Solved {
  Grid grid;
  GptqResult result;
};

// Within a block of columns sums run in the order of the plain twin; across blocks in another, which moves a value at
// the border between two codes: one of some hundred thousand, so that of 300 rows of 2304 columns seven differ
// somewhere. Such a code changes the later values of its row by hundredths of the largest step: some more int4 codes of
// that row follow, and of FP8, whose steps near zero are a thousand times finer, a quarter. Rows tell one from the
// other: four times as many as expected may differ, and no others.
TEST_P(OnDeviceSolver, CodesAreThoseOfTheCpu) {
  at::manual_seed(14);
  const int64_t columns = larger(320, 2304), rows = larger(40, 300);
  const at::Tensor w_OI = at::randn({rows, columns}), gram_II = gram_of(columns, 2 * columns);
  for (const auto& [spec, order] :
       {std::pair{int4_spec(64, true), ActOrder::Static}, std::pair{int4_spec(32, false), ActOrder::None},
        std::pair{GridSpec{.type = CodeType::Fp8E4M3, .code_min = -448, .code_max = 448}, ActOrder::Static}}) {
    const GptqFactor factor = gptq_factor(gram_II, {.act_order = order});
    const Grid grid = find_grid(w_OI, spec, {.kind = ScaleSearch::Kind::Absmax});
    const GptqResult expected = gptq_solve(w_OI, factor, grid);
    const GptqResult got =
        solver().gptq_solve(w_OI.to(device()), there(factor, device()), to_device(grid, device()), false);
    EXPECT_EQ(got.codes_OI.scalar_type(), expected.codes_OI.scalar_type());
    const at::Tensor equal_O = got.codes_OI.view(at::kByte).cpu().eq(expected.codes_OI.view(at::kByte)).all(1);
    EXPECT_GE(equal_O.to(at::kFloat).mean().item<float>(), 0.9);
    EXPECT_NEAR(got.loss, expected.loss, 1e-3 * expected.loss);
  }
}

// One block: every bit.
TEST_P(OnDeviceSolver, CodesOfOneBlockAreExactlyThoseOfTheCpu) {
  at::manual_seed(15);
  const at::Tensor w_OI = at::randn({33, 100}), gram_II = gram_of(100, 300);
  const GptqFactor factor = gptq_factor(gram_II, {});
  const Grid grid = find_grid(w_OI, int4_spec(50, false), {.kind = ScaleSearch::Kind::Absmax});
  const at::Tensor expected_OI = gptq_solve(w_OI, factor, grid).codes_OI;
  const at::Tensor got_OI =
      solver().gptq_solve(w_OI.to(device()), there(factor, device()), to_device(grid, device()), false).codes_OI;
  EXPECT_TRUE(got_OI.cpu().equal(expected_OI));
}

TEST_P(OnDeviceSolver, ZerosAreKept) {
  at::manual_seed(16);
  at::Tensor w_OI = at::randn({8, 64});
  w_OI.masked_fill_(w_OI.abs() < 0.5, 0);
  const at::Tensor gram_II = gram_of(64, 200).to(at::kFloat);
  const GptqFactor factor = gptq_factor(gram_II, {});
  Grid grid = to_device(find_grid(w_OI, int4_spec(32, true), {.kind = ScaleSearch::Kind::Absmax}), device());
  at::Tensor codes_OI = solver().gptq_solve(w_OI.to(device()), there(factor, device()), grid, true).codes_OI;
  solver().refine(w_OI.to(device()), gram_II.to(device()), {.keep_zeros = true}, codes_OI, grid);
  EXPECT_EQ(codes_OI.cpu().masked_select(w_OI.eq(0)).count_nonzero().item<int64_t>(), 0);
}

TEST_P(OnDeviceSolver, DequantizedWeightsAreThoseOfTheCpu) {
  at::manual_seed(17);
  const at::Tensor w_OI = at::randn({6, 96});
  for (const GridSpec& spec :
       {int4_spec(32, false), GridSpec{.type = CodeType::Fp4E2M1, .code_min = -6, .code_max = 6, .group_size = 16}}) {
    const Grid grid = find_grid(w_OI, spec, {.kind = ScaleSearch::Kind::Absmax});
    const at::Tensor codes_OI = quantize_to_grid(w_OI, grid);
    EXPECT_TRUE(solver()
                    .dequantize(codes_OI.to(device()), to_device(grid, device()))
                    .cpu()
                    .equal(dequantize_from_grid(codes_OI, grid)));
  }
}

// The descent takes the same steps; where two codes are as good it may part, and then its loss is as low.
TEST_P(OnDeviceSolver, RefinementEndsAsLowAsOnTheCpu) {
  at::manual_seed(18);
  const int64_t columns = larger(256, 1024), rows = larger(33, 300);
  const at::Tensor w_OI = at::randn({rows, columns}), gram_II = gram_of(columns, 2 * columns).to(at::kFloat);
  for (const bool symmetric : {true, false}) {
    Grid grid = find_grid(w_OI, int4_spec(128, symmetric), {.kind = ScaleSearch::Kind::Absmax}),
         grid_there = to_device(grid, device());
    grid.scale_OG = grid.scale_OG.clone();
    at::Tensor codes_OI = quantize_to_grid(w_OI, grid), codes_there = codes_OI.clone().to(device());
    const double expected = refine(w_OI, gram_II, {}, codes_OI, grid);
    const double got = solver().refine(w_OI.to(device()), gram_II.to(device()), {}, codes_there, grid_there);
    EXPECT_NEAR(got, expected, 5e-3 * expected);
    EXPECT_GE(share_equal(codes_there, codes_OI), 0.98);
    const at::Tensor error_OI = w_OI - solver().dequantize(codes_there, grid_there).cpu();
    EXPECT_NEAR(got, (at::mm(error_OI, gram_II) * error_OI).sum(at::kDouble).item<double>(), 1e-3 * expected)
        << "the loss that is told is that of the codes";
  }
}

}  // namespace
}  // namespace swage::solvers
