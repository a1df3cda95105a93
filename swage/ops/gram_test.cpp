#include "swage/ops/gram.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <array>

#include "swage/base/error.h"

namespace swage::ops {
namespace {

at::Tensor gram_of(const at::Tensor& x_TI) {
  at::Tensor gram_II = at::zeros({x_TI.size(1), x_TI.size(1)}, at::kDouble);
  gram_add(x_TI, gram_II);
  gram_finish(gram_II);
  return gram_II;
}

// Equals the f64 product up to f32 rounding, for widths and lengths that fit no tile.
TEST(Gram, EqualsTheProductInDouble) {
  at::manual_seed(1);
  for (const int64_t columns : {1, 7, 48, 49, 97, 192, 333}) {
    for (const int64_t tokens : {1, 3, 511, 512, 513, 1100}) {
      const at::Tensor x_TI = at::randn({tokens, columns});
      const at::Tensor exact_II = x_TI.to(at::kDouble).t().mm(x_TI.to(at::kDouble));
      // A run of 512 products of size 1 is summed in f32: each partial sum, at most ~100, is rounded by 2^-24 of
      // itself.
      const double tolerance = 512 * 100 * std::pow(2.0, -24) * std::sqrt(double(tokens) / 512 + 1);
      EXPECT_LT((gram_of(x_TI) - exact_II).abs().max().item<double>(), tolerance) << tokens << "x" << columns;
    }
  }
}

// Long runs go through f64: the error is that of summing 512 values in f32, at most 512 * 2^-24, for any number of
// tokens.
TEST(Gram, KeepsPrecisionOverManyTokens) {
  const at::Tensor x_TI = at::full({400000, 2}, 1.0001f);
  const double exact = 400000 * double{1.0001f} * double{1.0001f};
  EXPECT_NEAR(gram_of(x_TI)[0][1].item<double>(), exact, exact * 3.1e-5);
}

TEST(Gram, SumOfPiecesIsThatOfOneCallBitForBit) {
  at::manual_seed(2);
  const at::Tensor x_TI = at::randn({30000, 130});
  at::Tensor gram_II = at::zeros({130, 130}, at::kDouble), scratch;
  GramSum sum(gram_II, x_TI.size(0), scratch);
  for (int64_t t = 0; t < x_TI.size(0); t += 700) sum.add(x_TI.narrow(0, t, std::min<int64_t>(700, x_TI.size(0) - t)));
  sum.finish();
  gram_finish(gram_II);
  EXPECT_TRUE(gram_II.equal(gram_of(x_TI)));
}

TEST(Gram, AddsToWhatIsThereAndLeavesTheLowerTriangle) {
  const at::Tensor x_TI = at::randn({20, 60});
  at::Tensor gram_II = at::full({60, 60}, 5.0, at::kDouble);
  gram_add(x_TI, gram_II);
  EXPECT_TRUE((gram_II.tril(-1) == at::full({60, 60}, 5.0, at::kDouble).tril(-1)).all().item<bool>());
  EXPECT_LT((gram_II.triu() - (gram_of(x_TI) + 5).triu()).abs().max().item<double>(), 1e-12);
}

TEST(Gram, IsSymmetricAfterFinish) {
  const at::Tensor gram_II = gram_of(at::randn({30, 77}));
  EXPECT_TRUE(gram_II.equal(gram_II.t()));
}

// Same bytes for one thread, two, and inside a parallel region; and for one call or the equal pieces a call is cut
// into.
TEST(Gram, DoesNotDependOnThreads) {
  const at::Tensor x_TI = at::randn({1500, 205});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one_II = gram_of(x_TI);
  at::set_num_threads(2);
  EXPECT_TRUE(one_II.equal(gram_of(x_TI)));
  std::vector<at::Tensor> nested(2);
  at::parallel_for(0, 2, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) nested[static_cast<size_t>(i)] = gram_of(x_TI);
  });
  EXPECT_TRUE(one_II.equal(nested[0]) && one_II.equal(nested[1]));
  at::set_num_threads(threads);
}

// Enough tokens for several packed pieces.
TEST(Gram, EqualsItsPlainTwin) {
  const at::Tensor x_TI = at::randn({30000, 250});
  at::Tensor plain_II = at::zeros({250, 250}, at::kDouble);
  gram_add_reference(x_TI, plain_II);
  // f32 rounding of 59 runs of 512 tokens in two orders of summation; elements are ~173 off and 30000 on the diagonal.
  EXPECT_LT((gram_of(x_TI) - plain_II).abs().max().item<double>(), 0.05);
}

TEST(Gram, TakesARowSubset) {
  const at::Tensor x_TI = at::randn({40, 51});
  const at::Tensor rows_R = at::tensor({3, 7, 7, 39}, at::kLong);
  at::Tensor gram_II = at::zeros({51, 51}, at::kDouble);
  gram_add_rows(x_TI, rows_R, gram_II);
  gram_finish(gram_II);
  EXPECT_TRUE(gram_II.equal(gram_of(x_TI.index_select(0, rows_R))));
}

TEST(Gram, RefusesWrongTensors) {
  at::Tensor gram_II = at::zeros({4, 4}, at::kDouble), narrow_II = at::zeros({4, 4});
  EXPECT_THROW(gram_add(at::zeros({2, 5}), gram_II), Error);
  EXPECT_THROW(gram_add(at::zeros({2, 4}, at::kDouble), gram_II), Error);
  EXPECT_THROW(gram_add(at::zeros({4, 2}).t(), gram_II), Error);
  EXPECT_THROW(gram_add(at::zeros({2, 4}), narrow_II), Error);
  gram_add(at::zeros({0, 4}), gram_II);
  EXPECT_EQ(gram_II.abs().sum().item<double>(), 0);
}

// Lengths that are no multiples of anything, so that parts begin and end inside chunks and steps.
TEST(Gram, PartsAddUpAsOneTensor) {
  at::manual_seed(11);
  const auto x_TI = at::randn({1501, 70});
  at::Tensor whole_II = at::zeros({70, 70}, at::kDouble), parts_II = whole_II.clone();
  gram_add(x_TI, whole_II);
  gram_add({x_TI.narrow(0, 0, 1), x_TI.narrow(0, 1, 300), x_TI.narrow(0, 301, 0), x_TI.narrow(0, 301, 1200)}, parts_II);
  EXPECT_TRUE(at::equal(whole_II, parts_II));
}

// For widths and lengths that fit no tile, and the same bits for any number of threads; more than one packing of
// tokens.
TEST(CrossProduct, EqualsTheProductInDouble) {
  at::manual_seed(3);
  const int before = at::get_num_threads();
  for (const auto& [tokens, rows, columns] :
       {std::array<int64_t, 3>{1, 1, 1}, {300, 47, 97}, {128, 200, 48}, {9000, 250, 333}}) {
    const at::Tensor a_TM = at::randn({tokens, rows}), b_TN = at::randn({tokens, columns}),
                     start_MN = at::randn({rows, columns}, at::kDouble);
    const at::Tensor exact_MN = start_MN + a_TM.to(at::kDouble).t().mm(b_TN.to(at::kDouble));
    at::Tensor first_MN;
    for (const int threads : {1, 2, 5}) {
      at::set_num_threads(threads);
      at::Tensor sum_MN = start_MN.clone();
      cross_add(a_TM, b_TN, sum_MN);
      // As above, with runs of 128 products: partial sums of at most 50.
      EXPECT_LT((sum_MN - exact_MN).abs().max().item<double>(),
                128 * 50 * std::pow(2.0, -24) * std::sqrt(double(tokens) / 128 + 1));
      if (first_MN.defined()) EXPECT_TRUE(sum_MN.equal(first_MN)) << tokens << " tokens on " << threads << " threads";
      first_MN = sum_MN;
    }
  }
  at::set_num_threads(before);
  at::Tensor wrong_MN = at::zeros({3, 3}, at::kDouble);
  EXPECT_THROW(cross_add(at::randn({4, 3}), at::randn({5, 3}), wrong_MN), Error);
  EXPECT_THROW(cross_add(at::randn({4, 3}), at::randn({4, 2}), wrong_MN), Error);
}

}  // namespace
}  // namespace swage::ops
