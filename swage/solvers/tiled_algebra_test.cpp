// Tiled products and solutions against libtorch's, at sizes that fill no tile, and for several numbers of threads.
#include "swage/solvers/tiled_algebra.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <array>

#include "swage/base/error.h"

namespace swage::solvers {
namespace {

at::Tensor noise(int64_t rows, int64_t columns, uint64_t seed) {
  at::manual_seed(seed);
  return at::randn({rows, columns}, at::kDouble);
}

// The same bits from `work` with 1, 2, 3 and 8 threads.
template <class Work>
at::Tensor for_any_threads(const Work& work) {
  const int before = at::get_num_threads();
  at::Tensor first;
  for (const int threads : {1, 2, 3, 8}) {
    at::set_num_threads(threads);
    const at::Tensor now = work();
    if (first.defined())
      EXPECT_TRUE(now.equal(first)) << threads << " threads";
    else
      first = now;
  }
  at::set_num_threads(before);
  return first;
}

TEST(TiledAlgebra, ProductsAreThoseOfTheMathLibrary) {
  for (const auto& [m, k, n] : {std::array<int64_t, 3>{1, 1, 1}, {47, 300, 49}, {48, 96, 48}, {130, 577, 101}}) {
    const at::Tensor a_MK = noise(m, k, 1), b_KN = noise(k, n, 2), before_MN = noise(m, n, 3);
    for (const double factor : {1.0, -1.0}) {
      const at::Tensor out_MN = for_any_threads([&] {
        at::Tensor out = before_MN.clone();
        add_product(a_MK, b_KN, factor, out);
        return out;
      });
      // Sums of at most 578 products of size 1: off by 578 * 2^-53 times the sum of their magnitudes, some 460, at
      // worst.
      EXPECT_LE((out_MN - (before_MN + factor * a_MK.mm(b_KN))).abs().max().item<double>(), 3e-11)
          << m << " " << k << " " << n;
    }
  }
  at::Tensor out_MN = noise(3, 4, 1);
  EXPECT_THROW(add_product(noise(3, 5, 1), noise(6, 4, 1), 1, out_MN), Error);
}

TEST(TiledAlgebra, SolutionsSatisfyTheirEquations) {
  for (const int64_t n : {1, 47, 48, 130, 577}) {
    const at::Tensor x_NT = noise(n, 2 * n, 4), h_NN = x_NT.mm(x_NT.t()) + n * at::eye(n, at::kDouble),
                     d_ON = noise(53, n, 5);
    const at::Tensor solved_ON = for_any_threads([&] {
      UpperCholesky u =
          upper_cholesky(n, [&](int64_t i, int64_t j) { return h_NN.const_data_ptr<double>()[i * n + j]; });
      EXPECT_TRUE(u.ok());
      return FactoredSolver(std::move(u)).solve(d_ON);
    });
    // Condition below 8 (eigenvalues of x x^T lie between (sqrt 2 - 1)^2 n and (sqrt 2 + 1)^2 n), so some 8 * n * 2^-53
    // times the numbers of d, up to 5.
    EXPECT_LE((solved_ON.mm(h_NN) - d_ON).abs().max().item<double>(), 3e-12) << n;
  }
}

}  // namespace
}  // namespace swage::solvers
