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

// Equals the f64 product up to the rounding to fixed point, for widths and lengths that fit no tile.
TEST(Gram, EqualsTheProductInDouble) {
  at::manual_seed(1);
  for (const int64_t columns : {1, 7, 48, 49, 97, 192, 333}) {
    for (const int64_t tokens : {1, 3, 511, 512, 513, 1100}) {
      const at::Tensor x_TI = at::randn({tokens, columns});
      const at::Tensor exact_II = x_TI.to(at::kDouble).t().mm(x_TI.to(at::kDouble));
      // A value is off by half a step, at most 2^-15 of its column's norm over the chunk: over 256 tokens an error of
      // 2^-11 of the norm for either side, so 2^-10 of both norms' product. Errors of noise are independent: a step is
      // even, and so 2^-14 sqrt(2 / 12) of that at most in root mean square, and half as much again on the diagonal.
      const at::Tensor norm_I = exact_II.diagonal().sqrt(),
                       error_II = (gram_of(x_TI) - exact_II).abs() / at::outer(norm_I, norm_I);
      EXPECT_LT(error_II.max().item<double>(), 0x1p-10 * 1.001) << tokens << "x" << columns;
      if (columns > 40) EXPECT_LT(error_II.square().mean().sqrt().item<double>(), 2.6e-5) << tokens << "x" << columns;
    }
  }
}

// Sums are exact: the error is that of rounding one value, here 2^-11 of it at most, twice, for any number of tokens.
TEST(Gram, KeepsPrecisionOverManyTokens) {
  const at::Tensor x_TI = at::full({400000, 2}, 1.0001f);
  const double exact = 400000 * double{1.0001f} * double{1.0001f};
  EXPECT_NEAR(gram_of(x_TI)[0][1].item<double>(), exact, exact * 0x1p-10);
}

// One token that outweighs the others by a thousand costs its own chunk, and little there.
TEST(Gram, AnOutlierCostsItsChunk) {
  at::manual_seed(4);
  at::Tensor x_TI = at::randn({1024, 60});
  x_TI[300].mul_(1000);
  const at::Tensor x64_TI = x_TI.to(at::kDouble), exact_II = x64_TI.t().mm(x64_TI);
  const at::Tensor norm_I = exact_II.diagonal().sqrt();
  EXPECT_LT(((gram_of(x_TI) - exact_II).abs() / at::outer(norm_I, norm_I)).max().item<double>(), 0x1p-10);
  const at::Tensor others_TI = at::cat({x_TI.narrow(0, 0, 256), x_TI.narrow(0, 512, 512)});
  at::Tensor chunk_II = gram_of(x_TI) - gram_of(x_TI.narrow(0, 256, 256));
  // The three other chunks keep their own precision, within f64's of what was added to them.
  EXPECT_LT((chunk_II - gram_of(others_TI)).abs().max().item<double>(), 1e-15 * exact_II.abs().max().item<double>());
}

TEST(Gram, NanAndInfinityShowInTheirRowAndColumn) {
  for (const float bad : {NAN, INFINITY}) {
    at::Tensor x_TI = at::ones({700, 50});
    x_TI[400][7] = bad;
    const at::Tensor gram_II = gram_of(x_TI), finite_II = gram_II.isfinite();
    EXPECT_FALSE(finite_II.select(0, 7).any().item<bool>());
    EXPECT_FALSE(finite_II.select(1, 7).any().item<bool>());
    EXPECT_EQ(finite_II.sum().item<int64_t>(), 49 * 49);
  }
}

// The same bits on every processor, as this number says. Values of 24 bits from a generator that is integers.
TEST(Gram, HasTheSameBitsEverywhere) {
  at::Tensor x_TI = at::empty({700, 101});
  uint64_t state = 1;
  const auto next = [&] { return (state = state * 6364136223846793005u + 1442695040888963407u) >> 40; };
  for (int64_t i = 0; i < x_TI.numel(); ++i)
    x_TI.mutable_data_ptr<float>()[i] = std::ldexp(static_cast<float>(next()) - 0x1p23f, -20 - int(i % 101 % 7));
  const at::Tensor gram_II = gram_of(x_TI);
  uint64_t digest = 0xcbf29ce484222325u;  // FNV-1a
  const auto* bytes = reinterpret_cast<const uint8_t*>(gram_II.const_data_ptr<double>());
  for (int64_t i = 0; i < int64_t(gram_II.nbytes()); ++i) digest = (digest ^ bytes[i]) * 0x100000001b3u;
  EXPECT_EQ(digest, 0xe13ca29654dc8f3bu);
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
  // Steps are 2^-10 at most: a product of values of size 1 errs by sqrt(2 / 12) of one in root mean square, a square by
  // sqrt(4 / 12), a sum of 30000 by 173 times that: 0.1, and six times that in none of 31000.
  EXPECT_LT((gram_of(x_TI) - plain_II).abs().max().item<double>(), 0.6);
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
      // As above: six times the root mean square of steps of 2^-10.
      EXPECT_LT((sum_MN - exact_MN).abs().max().item<double>(), 6 * std::sqrt(double(tokens) / 6) * 0x1p-10);
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
