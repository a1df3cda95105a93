#include "swage/solvers/grid.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"
#include "swage/solvers/range_search.h"

namespace swage::solvers {
namespace {

ScaleSearch absmax() {
  ScaleSearch search;
  search.kind = ScaleSearch::Kind::Absmax;
  return search;
}

GridSpec make_spec(bool fp8, bool symmetric, int64_t group_size, at::ScalarType scale_dtype = at::kFloat) {
  GridSpec spec;
  spec.type = fp8 ? CodeType::Fp8E4M3 : CodeType::Int;
  if (fp8) spec.code_min = -448, spec.code_max = 448;
  spec.symmetric = symmetric;
  spec.group_size = group_size;
  spec.scale_dtype = scale_dtype;
  return spec;
}

// Sum of |w - q|^norm for each group of consecutive columns, times the columns' importance.
at::Tensor group_errors(const at::Tensor& w_OI, const Grid& grid, double norm, const at::Tensor& importance_I = {}) {
  at::Tensor error_OI =
      (dequantize_from_grid(quantize_to_grid(w_OI, grid), grid) - w_OI.to(at::kFloat)).to(at::kDouble).abs().pow(norm);
  if (importance_I.defined()) error_OI.mul_(importance_I);
  return error_OI.view({w_OI.size(0), grid.scale_OG.size(1), -1}).sum(-1);
}

// Symmetric int4 in plain ATen: the grid search as the papers state it.
at::Tensor searched_scales(const at::Tensor& w_OI, int64_t group_size, const ScaleSearch& search) {
  const at::Tensor groups_OGC = w_OI.view({w_OI.size(0), -1, group_size});
  const at::Tensor absmax_OG = groups_OGC.abs().amax(-1);
  at::Tensor best_OG = at::full_like(absmax_OG, INFINITY, at::kDouble), scale_OG = at::zeros_like(absmax_OG);
  for (int i = 0; i < search.steps; ++i) {
    const at::Tensor candidate_OG =
        (absmax_OG * (search.largest - search.step * i) / 7.5).to(at::kBFloat16).to(at::kFloat);
    const at::Tensor s = candidate_OG.unsqueeze(-1);
    at::Tensor error_OGC =
        ((groups_OGC / s).round().clamp(-8, 7) * s - groups_OGC).to(at::kDouble).abs().pow(search.norm);
    if (search.importance_I.defined()) error_OGC.mul_(search.importance_I.view({-1, group_size}));
    const at::Tensor error_OG = error_OGC.sum(-1);
    const at::Tensor better_OG = error_OG < best_OG;
    best_OG = at::where(better_OG, error_OG, best_OG);
    scale_OG = at::where(better_OG, candidate_OG, scale_OG);
  }
  return scale_OG;
}

TEST(FindGrid, SearchFindsTheBestCandidate) {
  at::manual_seed(1);
  const at::Tensor w_OI = at::randn({70, 256}) * 0.03;
  std::vector<at::Tensor> found;
  for (const at::Tensor& importance_I : {at::Tensor(), at::randn({256}).exp()}) {
    ScaleSearch search;
    search.importance_I = importance_I;
    const Grid grid = find_grid(w_OI, make_spec(false, true, 32, at::kBFloat16), search);
    const at::Tensor want_OG = searched_scales(w_OI, 32, search);
    // The kernel's power is good to 1e-5: where two candidates are closer than that, it may take the other one.
    EXPECT_GE((grid.scale_OG == want_OG).to(at::kDouble).mean().item<double>(), 0.995);
    Grid best = grid;
    best.scale_OG = want_OG;
    EXPECT_TRUE(
        (group_errors(w_OI, grid, 2.4, importance_I) <= group_errors(w_OI, best, 2.4, importance_I) * (1 + 5e-5))
            .all()
            .item<bool>());
    found.push_back(grid.scale_OG);
  }
  EXPECT_LT((found[0] == found[1]).to(at::kDouble).mean().item<double>(), 0.5);
}

// Factor 1 is among the candidates (1.15 - 10 * 0.015), so a searched scale cannot be worse than absmax.
TEST(FindGrid, SearchedErrorIsAtMostAbsmax) {
  at::manual_seed(2);
  for (const bool symmetric : {true, false}) {
    for (const double norm : {1.0, 2.0, 2.4, 4.0}) {
      for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
        const at::Tensor w_OI = (at::randn({19, 96}) * 0.1 + (symmetric ? 0.0 : 0.05)).to(dtype);
        ScaleSearch search;
        search.norm = norm;
        const GridSpec spec = make_spec(false, symmetric, 24);
        const at::Tensor searched_OG = group_errors(w_OI, find_grid(w_OI, spec, search), norm);
        const at::Tensor absmax_OG =
            group_errors(w_OI.to(at::kFloat), find_grid(w_OI.to(at::kFloat), spec, absmax()), norm);
        EXPECT_TRUE((searched_OG <= absmax_OG * (1 + 1e-4)).all().item<bool>()) << "norm " << norm;
        EXPECT_LT(searched_OG.sum().item<double>(), absmax_OG.sum().item<double>());
      }
    }
  }
}

TEST(FindGrid, SearchWorksForFp8Rows) {
  at::manual_seed(3);
  const at::Tensor w_OI = at::randn({5, 333}) * 0.1;
  const GridSpec spec = make_spec(true, true, 0, at::kBFloat16);
  const Grid searched = find_grid(w_OI, spec, {}), plain = find_grid(w_OI, spec, absmax());
  EXPECT_TRUE((group_errors(w_OI, searched, 2.4) <= group_errors(w_OI, plain, 2.4) * (1 + 1e-4)).all().item<bool>());
}

GridSpec float_spec(CodeType type, at::ScalarType scale_dtype, int64_t group_size, int64_t group_rows = 1) {
  GridSpec spec = make_spec(false, true, group_size, scale_dtype);
  spec.type = type;
  spec.code_max = type == CodeType::Fp8E4M3 ? 448 : type == CodeType::Fp6E2M3 ? 7.5 : 6;
  spec.code_min = -spec.code_max;
  spec.group_rows = group_rows;
  return spec;
}

double whole_error(const at::Tensor& w_OI, const Grid& grid, double norm) {
  return (dequantize_from_grid(quantize_to_grid(w_OI, grid), grid) - w_OI.to(at::kFloat))
      .to(at::kDouble)
      .abs()
      .pow(norm)
      .sum()
      .item<double>();
}

// On every kind of grid the search finds a better one than absmax, which is one of its candidates; sums over blocks and
// over whole tensors too.
TEST(FindGrid, SearchImprovesEveryGrid) {
  at::manual_seed(21);
  GridSpec int_blocks = make_spec(false, false, 24, at::kBFloat16), int_tensor = make_spec(false, false, 0),
           int_channel = make_spec(false, true, 0);
  int_blocks.group_rows = 16, int_tensor.group_rows = 0;
  const std::vector<GridSpec> all{int_blocks,
                                  int_tensor,
                                  int_channel,
                                  float_spec(CodeType::Fp4E2M1, at::kFloat8_e4m3fn, 16),
                                  float_spec(CodeType::Fp4E2M1, at::kByte, 16),
                                  float_spec(CodeType::Fp6E2M3, at::kByte, 16),
                                  float_spec(CodeType::Fp8E4M3, at::kByte, 16),
                                  float_spec(CodeType::Fp8E4M3, at::kBFloat16, 24, 16),
                                  float_spec(CodeType::Fp8E4M3, at::kFloat, 0, 0)};
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const at::Tensor w_OI = (at::randn({200, 112}) * 0.05 + 0.01).to(dtype);
    for (size_t i = 0; i < all.size(); ++i) {
      const double searched = whole_error(w_OI, find_grid(w_OI, all[i], {}), 2.4);
      const double plain = whole_error(w_OI.to(at::kFloat), find_grid(w_OI.to(at::kFloat), all[i], absmax()), 2.4);
      EXPECT_LE(searched, plain * (1 + 1e-4)) << i;
      if (all[i].type != CodeType::Fp8E4M3) {
        EXPECT_LT(searched, plain) << i;
      }
    }
  }
}

// The chosen scale of a block and of a tensor is the best of all candidates, each tried in plain ATen.
TEST(FindGrid, SearchOfTilesFindsTheBestCandidate) {
  at::manual_seed(22);
  const at::Tensor w_OI = at::randn({300, 130}) * 0.03;  // several pieces of 16384 weights
  GridSpec spec = make_spec(false, true, 0);
  spec.group_rows = 0;
  const Grid found = find_grid(w_OI, spec, {});
  ASSERT_EQ(found.scale_OG.sizes(), at::IntArrayRef({1}));
  Grid tried = found;
  double best = INFINITY;
  for (int i = 0; i < 46; ++i) {
    tried.scale_OG = (w_OI.abs().max() * (1.15 - 0.015 * i) / 7.5).reshape({1});
    best = std::min(best, whole_error(w_OI, tried, 2.4));
  }
  EXPECT_LE(whole_error(w_OI, found, 2.4), best * (1 + 5e-5));
  // A block is searched as the same values in a weight of their own.
  spec.group_rows = 200, spec.group_size = 100;
  const Grid blocks = find_grid(w_OI, spec, {});
  ASSERT_EQ(blocks.scale_OG.sizes(), at::IntArrayRef({2, 2}));
  spec.group_rows = 0, spec.group_size = 0;
  EXPECT_EQ(find_grid(w_OI.narrow(0, 200, 100).narrow(1, 100, 30), spec, {}).scale_OG.item<float>(),
            blocks.scale_OG[1][1].item<float>());
}

// Importance makes a column's error count, patience ends the search, and a factor is what the range is multiplied by.
TEST(RangeSearch, WeighsColumnsAndStops) {
  at::manual_seed(23);
  const at::Tensor w_OI = at::randn({64, 64});
  FactorSearch search;
  for (int i = 0; i < 20; ++i) search.factors.push_back(1 - 0.01f * static_cast<float>(i));
  for (const int64_t rows : {1, 16}) {
    GridSpec spec = make_spec(false, true, 32);
    spec.group_rows = rows;
    search.importance_I = at::Tensor();
    const at::Tensor plain = best_range_factors(w_OI, spec, search);
    search.importance_I = at::ones({64});
    EXPECT_TRUE(best_range_factors(w_OI, spec, search).equal(plain));
    search.importance_I = at::rand({64}).pow(4);
    const at::Tensor weighted = best_range_factors(w_OI, spec, search);
    EXPECT_FALSE(weighted.equal(plain));
    const auto error_of = [&](const at::Tensor& factors) {
      const GroupRanges ranges = ranges_of_groups(w_OI, spec);
      Grid grid{
          spec, scales_of_ranges(ranges.low * factors, ranges.high * factors, spec, at::kFloat).scale, {}, {}, {}};
      const at::Tensor error_OI =
          (dequantize_from_grid(quantize_to_grid(w_OI, grid), grid) - w_OI).to(at::kDouble).abs().pow(2.4);
      return (error_OI * search.importance_I).sum().item<double>();
    };
    EXPECT_LT(error_of(weighted), error_of(plain));
  }
  // One group: the error falls and rises. With a patience of 1 the search ends at the first rise.
  GridSpec whole = make_spec(false, true, 0);
  whole.group_rows = 0;
  search.importance_I = at::Tensor();
  search.patience = 1;
  const float stopped = best_range_factors(w_OI, whole, search).item<float>();
  search.patience = 0;
  EXPECT_GE(stopped, best_range_factors(w_OI, whole, search).item<float>());
}

TEST(FindGrid, ScalesAreInTheStorageDtype) {
  for (const at::ScalarType dtype : {at::kBFloat16, at::kHalf}) {
    for (const ScaleSearch& search : {absmax(), ScaleSearch{}}) {
      const Grid grid = find_grid(at::randn({9, 40}), make_spec(false, false, 8, dtype), search);
      EXPECT_TRUE(grid.scale_OG.equal(grid.scale_OG.to(dtype).to(at::kFloat)));
      EXPECT_TRUE(grid.zero_point_OG.equal(grid.zero_point_OG.round()));
      EXPECT_TRUE(((grid.zero_point_OG >= -8) & (grid.zero_point_OG <= 7)).all().item<bool>());
    }
  }
}

TEST(FindGrid, ZeroGroupsGetTheEpsilonOfTheDtype) {
  for (const auto& [dtype, epsilon] : {std::pair{at::kFloat, 0x1p-23}, {at::kBFloat16, 0x1p-7}, {at::kHalf, 0x1p-10}}) {
    for (const ScaleSearch& search : {absmax(), ScaleSearch{}}) {
      for (const bool symmetric : {true, false}) {
        const Grid grid = find_grid(at::zeros({3, 16}), make_spec(false, symmetric, 8, dtype), search);
        EXPECT_TRUE((grid.scale_OG == epsilon).all().item<bool>());
        EXPECT_TRUE((dequantize_from_grid(quantize_to_grid(at::zeros({3, 16}), grid), grid) == 0).all().item<bool>());
      }
    }
  }
}

// A group given by g_idx has the scale of the same columns standing side by side.
TEST(FindGrid, FollowsGroupIndices) {
  at::manual_seed(4);
  const at::Tensor w_OI = at::randn({17, 48}), order_I = at::randperm(48, at::kLong);
  at::Tensor g_idx_I = at::empty({48}, at::kInt);
  for (int64_t i = 0; i < 48; ++i) g_idx_I[order_I[i].item<int64_t>()] = static_cast<int>(i / 12);
  ScaleSearch weighed;
  weighed.importance_I = at::randn({48}).exp();
  for (const ScaleSearch& search : {absmax(), ScaleSearch{}, weighed}) {
    const Grid scattered = find_grid(w_OI, make_spec(false, false, 12), search, g_idx_I);
    ScaleSearch in_order = search;
    if (search.importance_I.defined()) in_order.importance_I = search.importance_I.index_select(0, order_I);
    const Grid ordered = find_grid(w_OI.index_select(1, order_I), make_spec(false, false, 12), in_order);
    // The order of columns inside a group differs, so equal candidates may be summed to another last bit.
    EXPECT_GE((scattered.scale_OG == ordered.scale_OG).to(at::kDouble).mean().item<double>(), 0.98);
    const at::Tensor codes_OI = quantize_to_grid(w_OI, scattered);
    const at::Tensor scale_OI = scattered.scale_OG.index_select(1, g_idx_I),
                     zero_OI = scattered.zero_point_OG.index_select(1, g_idx_I);
    EXPECT_TRUE(codes_OI.to(at::kFloat).equal((w_OI / scale_OI + zero_OI).clamp(-8, 7).round()));
    EXPECT_TRUE(dequantize_from_grid(codes_OI, scattered).equal((codes_OI.to(at::kFloat) - zero_OI) * scale_OI));
  }
}

TEST(QuantizeToGrid, ErrsByAtMostHalfAStepInsideTheRange) {
  at::manual_seed(5);
  const at::Tensor w_OI = at::randn({33, 61});
  const Grid grid = find_grid(w_OI, make_spec(false, false, 0), absmax());
  const at::Tensor error_OI = (dequantize_from_grid(quantize_to_grid(w_OI, grid), grid) - w_OI).abs();
  // Rounding the zero point shifts the range by up to half a step, which clamps its last half step.
  EXPECT_TRUE((error_OI <= grid.scale_OG * 1.0001).all().item<bool>());
  EXPECT_LE((error_OI / grid.scale_OG).mean().item<double>(), 0.27);  // a quarter for uniform remainders
}

// FP8 codes are what ATen's conversion makes of the quotient.
TEST(QuantizeToGrid, Fp8EqualsTheConversion) {
  at::manual_seed(6);
  const at::Tensor w_OI = at::randn({7, 200}) * at::logspace(-6, 0, 200);
  const Grid grid = find_grid(w_OI, make_spec(true, true, 0), absmax());
  const at::Tensor want_OI = ((w_OI / grid.scale_OG) + 0.0).clamp(-448, 448).to(at::kFloat8_e4m3fn);
  EXPECT_TRUE(quantize_to_grid(w_OI, grid).view(at::kByte).equal(want_OI.view(at::kByte)));
  EXPECT_TRUE(dequantize_from_grid(quantize_to_grid(w_OI, grid), grid).equal(want_OI.to(at::kFloat) * grid.scale_OG));
}

// All three functions give the same bytes for one thread, two, and inside a parallel region.
TEST(Grid, DoesNotDependOnThreads) {
  const at::Tensor w_OI = at::randn({513, 320});
  const int threads = at::get_num_threads();
  for (const ScaleSearch& search : {absmax(), ScaleSearch{}}) {
    std::vector<at::Tensor> scales, codes, values;
    const auto run = [&] {
      const Grid grid = find_grid(w_OI, make_spec(false, false, 64, at::kBFloat16), search);
      scales.push_back(grid.scale_OG);
      codes.push_back(quantize_to_grid(w_OI, grid));
      values.push_back(dequantize_from_grid(codes.back(), grid));
    };
    at::set_num_threads(1);
    run();
    at::set_num_threads(2);
    run();
    at::parallel_for(0, 2, 1, [&](int64_t begin, int64_t) {
      if (begin == 0) run();
    });
    for (size_t i = 1; i < 3; ++i)
      EXPECT_TRUE(scales[0].equal(scales[i]) && codes[0].equal(codes[i]) && values[0].equal(values[i]));
  }
  at::set_num_threads(threads);
}

TEST(Grid, RefusesWhatDoesNotFit) {
  const at::Tensor w_OI = at::randn({4, 20});
  EXPECT_THROW(find_grid(w_OI, make_spec(false, true, 8), {}), Error);
  EXPECT_THROW(find_grid(w_OI.to(at::kDouble), make_spec(false, true, 10), {}), Error);
  EXPECT_THROW(find_grid(w_OI, make_spec(true, false, 10), {}), Error);
  EXPECT_THROW(find_grid(w_OI, make_spec(false, true, 10), {}, at::zeros({20}, at::kInt)), Error);
  ScaleSearch negative;
  negative.steps = 100;
  EXPECT_THROW(find_grid(w_OI, make_spec(false, true, 10), negative), Error);
  ScaleSearch short_of_columns;
  short_of_columns.importance_I = at::ones({19});
  EXPECT_THROW(find_grid(w_OI, make_spec(false, true, 10), short_of_columns), Error);
  Grid grid = find_grid(w_OI, make_spec(false, true, 10), {});
  EXPECT_THROW(quantize_to_grid(at::randn({5, 20}), grid), Error);
  grid.g_idx_I = at::full({20}, 2, at::kInt);
  EXPECT_THROW(quantize_to_grid(w_OI, grid), Error);
}

TEST(FindGrid, NamesNonFiniteWeights) {
  for (const float bad : {NAN, INFINITY}) {
    for (const ScaleSearch& search : {absmax(), ScaleSearch{}}) {
      at::Tensor w_OI = at::randn({4, 20});
      w_OI[2][13] = bad;
      try {
        find_grid(w_OI, make_spec(false, true, 10), search);
        FAIL();
      } catch (const Error& e) {
        EXPECT_EQ(e.kind(), ErrorKind::Numerical);
      }
    }
  }
}

}  // namespace
}  // namespace swage::solvers
