#include "swage/solvers/gptq.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"
#include "swage/ops/gram.h"

namespace swage::solvers {
namespace {

ScaleSearch no_search() {
  ScaleSearch search;
  search.kind = ScaleSearch::Kind::Absmax;
  return search;
}

GridSpec make_spec(int bits, bool symmetric, int64_t group_size) {
  GridSpec spec;
  spec.code_min = -std::ldexp(1.0, bits - 1);
  spec.code_max = std::ldexp(1.0, bits - 1) - 1;
  spec.symmetric = symmetric;
  spec.group_size = group_size;
  return spec;
}

GridSpec float_spec_of(CodeType type, at::ScalarType scale_dtype = at::kFloat, int64_t group_size = 0) {
  GridSpec spec;
  spec.type = type;
  spec.code_max = type == CodeType::Fp8E4M3 ? 448 : type == CodeType::Fp6E2M3 ? 7.5 : 6;
  spec.code_min = -spec.code_max;
  spec.scale_dtype = scale_dtype;
  spec.group_size = group_size;
  return spec;
}

// The same with scales of `rows` x spec.group_size blocks; 0 rows: of the whole tensor.
GridSpec in_blocks(GridSpec spec, int64_t rows) {
  spec.group_rows = rows;
  return spec;
}

// Inputs whose columns are correlated and differ in size, as those of a trained network.
at::Tensor correlated_gram(int64_t columns, int64_t tokens) {
  const at::Tensor mix_II = at::eye(columns) + at::randn({columns, columns}) * 0.7 / std::sqrt(double(columns));
  const at::Tensor x_TI = (at::randn({tokens, columns}).mm(mix_II) * at::rand({columns}).mul(2).exp()).contiguous();
  at::Tensor gram_II = at::zeros({columns, columns}, at::kDouble);
  ops::gram_add(x_TI, gram_II);
  ops::gram_finish(gram_II);
  return gram_II;
}

// The matrix that was factored, in the original order of columns.
at::Tensor dampened(const at::Tensor& gram_II, const GptqFactor& factor) {
  at::Tensor h_II = gram_II.clone();
  at::Tensor diagonal_I = h_II.diagonal();
  const double mean = diagonal_I.index({factor.dead_I.logical_not()}).mean().item<double>();
  diagonal_I.index_put_({factor.dead_I}, mean);
  diagonal_I.add_(factor.dampening_used * mean);
  return h_II;
}

// All values that a code may have, as f64.
at::Tensor values_of_codes(const GridSpec& spec) {
  if (spec.type == CodeType::Int) return at::arange(spec.code_min, spec.code_max + 1, at::kDouble);
  GridSpec unit = spec;
  unit.group_size = 0, unit.group_rows = 1;
  const at::Tensor bytes = at::arange(spec.type == CodeType::Fp8E4M3   ? 256
                                      : spec.type == CodeType::Fp6E2M3 ? 64
                                                                       : 16,
                                      at::kByte)
                               .unsqueeze(0);
  const at::Tensor codes = spec.type == CodeType::Fp8E4M3 ? bytes.view(at::kFloat8_e4m3fn) : bytes;
  const at::Tensor values =
      dequantize_from_grid(codes, {unit, at::ones({1, 1}), {}, {}, {}}).squeeze(0).to(at::kDouble);
  return values.index({values.abs() <= spec.code_max});  // E4M3 has two NaNs
}

at::Tensor round_to_codes(const at::Tensor& t, const GridSpec& spec) {
  if (spec.type == CodeType::Int) return t.clamp(spec.code_min, spec.code_max).round();
  if (spec.type == CodeType::Fp8E4M3) return t.clamp(-448, 448).to(at::kFloat).to(at::kFloat8_e4m3fn).to(at::kDouble);
  const at::Tensor values = values_of_codes(spec);
  return values.index_select(0, (t.unsqueeze(1) - values).abs().argmin(1));  // ties do not happen to noise
}

// Scales or zero points of one column, f64 [O].
at::Tensor of_column(const Grid& grid, const at::Tensor& of_OG, int64_t rows, int64_t columns, int64_t column) {
  if (of_OG.numel() == 1) return of_OG.flatten().expand({rows}).to(at::kDouble);
  const int64_t size = grid.spec.group_size == 0 ? columns : grid.spec.group_size;
  const int64_t group = grid.g_idx_I.defined() ? grid.g_idx_I[column].item<int>() : column / size;
  return of_OG.select(1, group).repeat_interleave(grid.spec.group_rows).narrow(0, 0, rows).to(at::kDouble);
}

// Values of codes before scaling.
at::Tensor code_values(const at::Tensor& codes_OI, const GridSpec& spec) {
  GridSpec unit = spec;
  unit.group_size = 0, unit.group_rows = 0, unit.symmetric = true;
  return dequantize_from_grid(codes_OI, {unit, at::ones({1}), {}, {}, {}}).to(at::kDouble);
}

// Frantar et al. 2022, Algorithm 1 as published, in f64: upper Cholesky factor of the inverse, one column after the
// other.
at::Tensor textbook_gptq(const at::Tensor& w_OI, const at::Tensor& h_II, const at::Tensor& order_I, const Grid& grid) {
  const int64_t columns = w_OI.size(1);
  const at::Tensor sorted_II = h_II.index_select(0, order_I).index_select(1, order_I);
  const at::Tensor u_II = at::linalg_cholesky(at::linalg_inv(sorted_II), /*upper=*/true);
  at::Tensor left_OI = w_OI.to(at::kDouble).index_select(1, order_I).clone(),
             codes_OI = at::zeros(w_OI.sizes(), at::kDouble);
  for (int64_t j = 0; j < columns; ++j) {
    const int64_t column = order_I[j].item<int64_t>();
    const at::Tensor scale_O = of_column(grid, grid.scale_OG, w_OI.size(0), columns, column);
    const at::Tensor zero_O = grid.spec.symmetric ? at::zeros_like(scale_O)
                                                  : of_column(grid, grid.zero_point_OG, w_OI.size(0), columns, column);
    const at::Tensor w_O = left_OI.select(1, j).clone(), code_O = round_to_codes(w_O / scale_O + zero_O, grid.spec);
    codes_OI.select(1, column).copy_(code_O);
    const at::Tensor error_O = (w_O - (code_O - zero_O) * scale_O) / u_II[j][j];
    left_OI.narrow(1, j, columns - j).sub_(error_O.unsqueeze(1) * u_II[j].narrow(0, j, columns - j));
  }
  return codes_OI;
}

at::Tensor order_of(const GptqFactor& factor) {
  return factor.permutation_I.defined() ? factor.permutation_I : at::arange(factor.d_I.size(0), at::kLong);
}

// tr(dW H dW^T) with the dampened H, dead columns of w counted as 0.
double loss_of(const at::Tensor& w_OI, const at::Tensor& h_II, const GptqFactor& factor, const GptqResult& result,
               const Grid& grid) {
  const at::Tensor target_OI = w_OI.to(at::kDouble).masked_fill(factor.dead_I.unsqueeze(0), 0);
  const at::Tensor d_OI = target_OI - dequantize_from_grid(result.codes_OI, grid).to(at::kDouble);
  return (d_OI.mm(h_II) * d_OI).sum().item<double>();
}

struct Setup {
  GridSpec spec;
  ActOrder act_order;
  int64_t rows, columns;
};

class GptqSolve : public testing::TestWithParam<Setup> {};

// Same codes as the textbook, and the reported loss is the layer's error.
TEST_P(GptqSolve, EqualsTheTextbookForm) {
  at::manual_seed(7);
  const auto& [spec, act_order, rows, columns] = GetParam();
  const at::Tensor gram_II = correlated_gram(columns, 3 * columns), w_OI = at::randn({rows, columns}) * 0.05;
  GptqOptions options;
  options.act_order = act_order;
  const GptqFactor factor = gptq_factor(gram_II, options);
  at::Tensor g_idx_I;
  if (act_order == ActOrder::Group) g_idx_I = group_act_order_g_idx(factor, spec.group_size);
  const Grid grid = find_grid(w_OI, spec, {}, g_idx_I);
  const GptqResult result = gptq_solve(w_OI, factor, grid);
  const at::Tensor h_II = dampened(gram_II, factor);
  const at::Tensor same_OI = code_values(result.codes_OI, spec) == textbook_gptq(w_OI, h_II, order_of(factor), grid);
  // f32 sums against f64: a value within 1e-6 of the border between two codes may go to the other side, and the columns
  // after it in that row follow.
  EXPECT_GE(same_OI.to(at::kDouble).mean().item<double>(), 0.9999);
  const double loss = loss_of(w_OI, h_II, factor, result, grid);
  // v - q is a difference of f32 numbers: relative to the weight's own size it is good to 2^-24 before squaring.
  const at::Tensor size_OI = w_OI.to(at::kDouble);
  EXPECT_NEAR(result.loss, loss, 1e-4 * loss + 1e-12 * (size_OI.mm(h_II) * size_OI).sum().item<double>());
}

INSTANTIATE_TEST_SUITE_P(All, GptqSolve,
                         testing::Values(Setup{make_spec(4, true, 32), ActOrder::Static, 150, 256},
                                         Setup{make_spec(4, true, 32), ActOrder::None, 150, 256},
                                         Setup{make_spec(4, true, 32), ActOrder::Group, 150, 256},
                                         Setup{make_spec(4, false, 64), ActOrder::Static, 48, 256},
                                         Setup{make_spec(4, false, 64), ActOrder::Group, 49, 256},
                                         Setup{make_spec(8, true, 0), ActOrder::Static, 30, 130},
                                         Setup{make_spec(3, true, 11), ActOrder::Static, 97, 99},
                                         Setup{make_spec(2, false, 1), ActOrder::None, 5, 13},
                                         Setup{float_spec_of(CodeType::Fp8E4M3), ActOrder::Static, 60, 200},
                                         Setup{make_spec(4, true, 0), ActOrder::Static, 1, 257},
                                         Setup{make_spec(4, true, 0), ActOrder::Static, 100, 1},
                                         Setup{make_spec(4, true, 1), ActOrder::Group, 1, 1}));

INSTANTIATE_TEST_SUITE_P(
    EveryGrid, GptqSolve,
    testing::Values(Setup{make_spec(2, true, 32), ActOrder::Static, 60, 128},
                    Setup{make_spec(3, false, 32), ActOrder::Static, 60, 128},
                    Setup{make_spec(5, true, 32), ActOrder::Static, 60, 128},
                    Setup{make_spec(6, false, 32), ActOrder::Group, 60, 128},
                    Setup{make_spec(7, true, 32), ActOrder::Static, 60, 128},
                    Setup{make_spec(8, false, 0), ActOrder::Static, 60, 128},
                    Setup{float_spec_of(CodeType::Fp4E2M1, at::kFloat8_e4m3fn, 16), ActOrder::Static, 60, 128},
                    Setup{float_spec_of(CodeType::Fp4E2M1, at::kFloat8_e4m3fn, 16), ActOrder::None, 49, 48},
                    Setup{float_spec_of(CodeType::Fp4E2M1, at::kByte, 32), ActOrder::Static, 60, 128},
                    Setup{float_spec_of(CodeType::Fp6E2M3, at::kByte, 32), ActOrder::Static, 60, 128},
                    Setup{float_spec_of(CodeType::Fp8E4M3, at::kByte, 32), ActOrder::Static, 60, 128},
                    Setup{in_blocks(float_spec_of(CodeType::Fp8E4M3, at::kFloat, 32), 32), ActOrder::Static, 130, 72},
                    Setup{in_blocks(make_spec(4, false, 24), 7), ActOrder::Static, 60, 100},
                    Setup{in_blocks(float_spec_of(CodeType::Fp8E4M3), 0), ActOrder::Static, 60, 128},
                    Setup{in_blocks(make_spec(8, false, 0), 0), ActOrder::Static, 60, 128}));

// The point of it all: less error than rounding each weight for itself, and act-order helps where columns differ in
// size.
TEST(Gptq, BeatsRoundToNearest) {
  at::manual_seed(8);
  const at::Tensor gram_II = correlated_gram(192, 1000), w_OI = at::randn({96, 192});
  const GptqFactor factor = gptq_factor(gram_II, {});
  const Grid grid = find_grid(w_OI, make_spec(4, true, 64), no_search());
  GptqResult nearest{quantize_to_grid(w_OI, grid), 0};
  const at::Tensor h_II = dampened(gram_II, factor);
  const double gptq = gptq_solve(w_OI, factor, grid).loss;
  EXPECT_LT(gptq, 0.8 * loss_of(w_OI, h_II, factor, nearest, grid));
  GptqOptions natural;
  natural.act_order = ActOrder::None;
  EXPECT_LT(gptq, gptq_solve(w_OI, gptq_factor(gram_II, natural), grid).loss);
}

// All 4^6 roundings of a row. Babai's point is within a quarter of sum D_i s^2 (all remainders half a step), and no
// better than the best; for a diagonal H it is the best.
TEST(Gptq, IsWithinBabaisBoundOfTheOptimum) {
  at::manual_seed(9);
  constexpr int64_t kColumns = 6;
  for (int trial = 0; trial < 20; ++trial) {
    const bool is_diagonal = trial % 4 == 0;
    at::Tensor gram_II = correlated_gram(kColumns, 40);
    if (is_diagonal) gram_II = gram_II.diagonal().diag().contiguous();
    const GptqFactor factor = gptq_factor(gram_II, {});
    const at::Tensor h_II = dampened(gram_II, factor), w_OI = at::rand({1, kColumns}) - 0.5;
    const Grid grid{
        make_spec(2, true, 0), at::full({1, 1}, 1.0f), {}, {}, {}};  // |w| <= 1/2 and small updates: no clamping
    const GptqResult result = gptq_solve(w_OI, factor, grid);
    double best = INFINITY;
    for (int code = 0; code < 4096; ++code) {
      at::Tensor codes_OI = at::empty({1, kColumns}, at::kChar);
      for (int64_t i = 0; i < kColumns; ++i) codes_OI[0][i] = (code >> (2 * i) & 3) - 2;
      best = std::min(best, loss_of(w_OI, h_II, factor, {codes_OI, 0}, grid));
    }
    const double clamped = (result.codes_OI == 1).logical_or(result.codes_OI == -2).sum().item<int64_t>();
    if (clamped == 0) {
      EXPECT_LE(result.loss, factor.d_I.sum().item<double>() / 4 * (1 + 1e-5));
    }
    EXPECT_GE(result.loss, best * (1 - 1e-5));
    if (is_diagonal) {
      EXPECT_NEAR(result.loss, best, 1e-5 * best);
    }
    EXPECT_NEAR(result.loss, loss_of(w_OI, h_II, factor, result, grid), 1e-4 * result.loss);
  }
}

// All combinations of codes of a row, for a float grid: no solution is better than the best, a diagonal H finds it, and
// a code that was not clamped is off by half of the largest step at most.
TEST(Gptq, MeetsTheOptimumOfFloatCodes) {
  at::manual_seed(13);
  constexpr int64_t kColumns = 4;
  const GridSpec spec = float_spec_of(CodeType::Fp4E2M1);
  const at::Tensor values = values_of_codes(spec), all_NI = at::cartesian_prod({values, values, values, values});
  for (int trial = 0; trial < 20; ++trial) {
    const bool is_diagonal = trial % 4 == 0;
    at::Tensor gram_II = correlated_gram(kColumns, 40);
    if (is_diagonal) gram_II = gram_II.diagonal().diag().contiguous();
    const GptqFactor factor = gptq_factor(gram_II, {});
    const at::Tensor h_II = dampened(gram_II, factor), w_OI = at::rand({1, kColumns}) * 8 - 4;
    const Grid grid{spec, at::ones({1, 1}), {}, {}, {}};
    const GptqResult result = gptq_solve(w_OI, factor, grid);
    const at::Tensor d_NI = all_NI - w_OI.to(at::kDouble);
    const double best = (d_NI.mm(h_II) * d_NI).sum(1).min().item<double>();
    EXPECT_GE(result.loss, best * (1 - 1e-5));
    if (is_diagonal) {
      EXPECT_NEAR(result.loss, best, 1e-5 * best);
    }
    if (code_values(result.codes_OI, spec).abs().max().item<double>() < 6) {
      EXPECT_LE(result.loss, factor.d_I.sum().item<double>() * (1 + 1e-5));  // steps of up to 2
    }
  }
}

TEST(GptqFactor, MultipliesBackToTheDampenedMatrix) {
  at::manual_seed(10);
  for (const ActOrder act_order : {ActOrder::None, ActOrder::Static}) {
    GptqOptions options;
    options.act_order = act_order;
    const at::Tensor gram_II = correlated_gram(75, 300);
    const GptqFactor factor = gptq_factor(gram_II, options);
    const at::Tensor m_II = factor.m_II.to(at::kDouble), order_I = order_of(factor);
    const at::Tensor product_II = (m_II * factor.d_I.to(at::kDouble)).mm(m_II.t());
    const at::Tensor want_II = dampened(gram_II, factor).index_select(0, order_I).index_select(1, order_I);
    EXPECT_LT((product_II - want_II).abs().max().item<double>(), 1e-5 * want_II.max().item<double>());
    EXPECT_TRUE(m_II.equal(m_II.triu()) && (m_II.diagonal() == 1).all().item<bool>());
    EXPECT_EQ(factor.permutation_I.defined(), act_order == ActOrder::Static);
    EXPECT_EQ(factor.retries, 0);
  }
}

// A scaled Gram matrix (a mean in place of a sum, f32 in place of f64) gives the same codes.
TEST(GptqFactor, DoesNotDependOnTheScaleOfTheGram) {
  at::manual_seed(11);
  const at::Tensor gram_II = correlated_gram(64, 200), w_OI = at::randn({20, 64});
  const Grid grid = find_grid(w_OI, make_spec(4, true, 32), {});
  const at::Tensor codes_OI = gptq_solve(w_OI, gptq_factor(gram_II, {}), grid).codes_OI;
  EXPECT_TRUE(codes_OI.equal(gptq_solve(w_OI, gptq_factor(gram_II / 4096, {}), grid).codes_OI));
  const at::Tensor from_f32_OI = gptq_solve(w_OI, gptq_factor((gram_II / 4096).to(at::kFloat), {}), grid).codes_OI;
  EXPECT_GE((codes_OI == from_f32_OI).to(at::kDouble).mean().item<double>(), 0.999);
}

// An input that is always 0: its weights count as 0, whatever they are, and the other columns do not see it.
TEST(Gptq, DeadColumnsBecomeZero) {
  at::manual_seed(12);
  at::Tensor gram_II = correlated_gram(40, 100);
  for (const int64_t dead : {0, 17}) gram_II[dead].zero_(), gram_II.select(1, dead).zero_();
  at::Tensor w_OI = at::randn({10, 40});
  for (const bool symmetric : {true, false}) {
    const Grid grid = find_grid(w_OI, make_spec(4, symmetric, 20), no_search());
    const GptqFactor factor = gptq_factor(gram_II, {});
    EXPECT_EQ(factor.dead_I.sum().item<int64_t>(), 2);
    const GptqResult result = gptq_solve(w_OI, factor, grid);
    const at::Tensor values_OI = dequantize_from_grid(result.codes_OI, grid);
    EXPECT_TRUE((values_OI.select(1, 0) == 0).all().item<bool>() && (values_OI.select(1, 17) == 0).all().item<bool>());
    at::Tensor other_OI = w_OI.clone();
    other_OI.select(1, 17).fill_(123);
    EXPECT_TRUE(result.codes_OI.equal(gptq_solve(other_OI, factor, grid).codes_OI));
  }
  const GptqFactor all_dead = gptq_factor(at::zeros({40, 40}, at::kDouble), {});
  EXPECT_TRUE(
      (gptq_solve(w_OI, all_dead, find_grid(w_OI, make_spec(4, true, 20), {})).codes_OI == 0).all().item<bool>());
}

// A matrix that is not positive definite: the dampening grows until it is, and that is reported.
TEST(GptqFactor, RetriesWithMoreDampening) {
  GptqOptions none;
  none.dampening = 0;
  const GptqFactor ones = gptq_factor(at::ones({8, 8}, at::kDouble), none);
  EXPECT_GE(ones.retries, 1);
  EXPECT_GT(ones.dampening_used, 0);
  const at::Tensor indefinite_II = at::tensor({1.0, 3.0, 3.0, 1.0}, at::kDouble).view({2, 2});  // eigenvalues 4 and -2
  const GptqFactor factor = gptq_factor(indefinite_II, {});
  EXPECT_EQ(factor.retries, 3);  // 0.01, 0.1, 1 are not enough
  EXPECT_NEAR(factor.dampening_used, 10, 1e-12);
}

TEST(GptqFactor, GivesUpWithANumericalError) {
  const auto kind_of = [](const at::Tensor& gram_II, const GptqOptions& options) {
    try {
      gptq_factor(gram_II, options);
    } catch (const Error& e) {
      return e.kind();
    }
    return ErrorKind::Internal;
  };
  GptqOptions one_retry;
  one_retry.max_retries = 1;
  EXPECT_EQ(kind_of(at::tensor({1.0, 3.0, 3.0, 1.0}, at::kDouble).view({2, 2}), one_retry), ErrorKind::Numerical);
  for (const double bad : {double(NAN), double(INFINITY)}) {
    at::Tensor gram_II = at::eye(5, at::kDouble);
    gram_II[1][3] = bad;
    EXPECT_EQ(kind_of(gram_II, {}), ErrorKind::Numerical);
  }
  EXPECT_EQ(kind_of(-at::eye(3, at::kDouble), {}), ErrorKind::Numerical);
  EXPECT_EQ(kind_of(at::zeros({2, 3}, at::kDouble), {}), ErrorKind::InvalidArgument);
}

TEST(Gptq, DoesNotDependOnThreads) {
  at::manual_seed(13);
  const at::Tensor gram_II = correlated_gram(200, 500), w_OI = at::randn({301, 200});
  const GptqFactor factor = gptq_factor(gram_II, {});
  const Grid grid = find_grid(w_OI, make_spec(4, false, 40), {});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const GptqResult one = gptq_solve(w_OI, factor, grid);
  at::set_num_threads(2);
  const GptqResult two = gptq_solve(w_OI, factor, grid);
  EXPECT_TRUE(one.codes_OI.equal(two.codes_OI));
  EXPECT_EQ(one.loss, two.loss);
  const at::Tensor large_II = correlated_gram(1100, 1200);  // wide enough for two threads in every step
  at::set_num_threads(1);
  const at::Tensor m_one_II = gptq_factor(large_II, {}).m_II;
  at::set_num_threads(2);
  EXPECT_TRUE(m_one_II.equal(gptq_factor(large_II, {}).m_II));
  at::parallel_for(0, 2, 1, [&](int64_t begin, int64_t) {
    if (begin != 0) return;
    EXPECT_TRUE(one.codes_OI.equal(gptq_solve(w_OI, factor, grid).codes_OI));
  });
  at::set_num_threads(threads);
}

// Rows are independent: solved together or one by one, the codes are the same.
TEST(Gptq, RowsAreIndependent) {
  at::manual_seed(14);
  const at::Tensor w_OI = at::randn({60, 72});
  const GptqFactor factor = gptq_factor(correlated_gram(72, 200), {});
  const Grid grid = find_grid(w_OI, make_spec(4, true, 24), {});
  const GptqResult all = gptq_solve(w_OI, factor, grid);
  double loss = 0;
  for (int64_t r = 0; r < 60; ++r) {
    const Grid row = rows_of_grid(grid, r, 1);
    const GptqResult one = gptq_solve(w_OI.narrow(0, r, 1), factor, row);
    EXPECT_TRUE(one.codes_OI.equal(all.codes_OI.narrow(0, r, 1)));
    loss += one.loss;
  }
  EXPECT_NEAR(loss, all.loss, 1e-12 * loss);
}

TEST(Gptq, GroupActOrderPutsSortedColumnsTogether) {
  const at::Tensor gram_II = at::tensor({1.0, 9.0, 4.0, 16.0}, at::kDouble).diag().contiguous();
  GptqOptions options;
  options.act_order = ActOrder::Group;
  const GptqFactor factor = gptq_factor(gram_II, options);
  EXPECT_TRUE(group_act_order_g_idx(factor, 2).equal(at::tensor({1, 0, 1, 0}, at::kInt)));
  EXPECT_THROW(group_act_order_g_idx(factor, 3), Error);
}

TEST(Gptq, RefusesWhatDoesNotFit) {
  const GptqFactor factor = gptq_factor(at::eye(8, at::kDouble), {});
  const at::Tensor w_OI = at::randn({3, 8});
  const Grid grid = find_grid(w_OI, make_spec(4, true, 4), {});
  EXPECT_THROW(gptq_solve(at::randn({3, 12}), factor, grid), Error);
  EXPECT_THROW(gptq_solve(at::randn({4, 8}), factor, grid), Error);
  EXPECT_THROW(gptq_solve(w_OI, {}, grid), Error);
}

}  // namespace
}  // namespace swage::solvers
