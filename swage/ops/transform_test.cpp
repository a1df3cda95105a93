#include "swage/ops/transform.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "swage/base/error.h"

namespace swage::ops {
namespace {

using testing::HasSubstr;

// Sylvester's matrix.
at::Tensor sylvester(int64_t n) {
  at::Tensor out = at::ones({1, 1});
  const at::Tensor two = at::tensor({1.0f, 1.0f, 1.0f, -1.0f}).view({2, 2});
  while (out.size(0) < n) out = at::kron(two, out);
  return out;
}

at::Tensor signs(int64_t n) { return at::randint(0, 2, {n}).mul(2).sub(1).to(at::kFloat); }

double largest(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

// Any product of signs, rows and columns changed or not, of a matrix of ones with Sylvester's: as readers find them.
TEST(Transform, FactorsOfSignedMatricesAreFound) {
  at::manual_seed(5);
  for (const auto& [outer, inner] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 2}, {4, 4}, {12, 2}, {5, 8}, {3, 32}}) {
    const int64_t n = outer * inner;
    const at::Tensor core = signs(outer * outer).view({outer, outer});
    const at::Tensor h = at::kron(core, sylvester(inner)).mul(signs(n).unsqueeze(1));
    for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
      const Transform found = Transform::of_matrix(h.to(type), 0.5);
      EXPECT_TRUE(found.is_factored()) << n;
      EXPECT_LE(largest(found.matrix(), h * 0.5), 0x1p-22)
          << n;  // two roundings of numbers below 1 to f32, times one another
    }
  }
}

// One entry decides whether it is a product.
TEST(Transform, WhatIsNoProductIsKeptWhole) {
  for (const auto& [row, column] : std::vector<std::pair<int64_t, int64_t>>{{0, 0}, {0, 15}, {7, 9}, {15, 15}}) {
    at::Tensor h = sylvester(16);
    h[row][column].neg_();
    const Transform found = Transform::of_matrix(h, 1);
    EXPECT_FALSE(found.is_factored()) << row << " " << column;
    EXPECT_TRUE(found.matrix().equal(h));
  }
  at::manual_seed(6);
  const at::Tensor any = at::rand({12, 12});
  EXPECT_TRUE(Transform::of_matrix(any, 2).matrix().equal(any * 2));
  EXPECT_FALSE(Transform::of_matrix(at::ones({4, 4}) * 2, 1).is_factored());
}

// Sums of n products of numbers of at most 4, rounded to f32: within n 2^-22 in absolute terms.
TEST(Transform, MultipliesRunsOfColumnsAndRows) {
  at::manual_seed(7);
  const at::Tensor h = sylvester(32).mul(signs(32).unsqueeze(1)), any = at::randn({6, 6});
  for (const at::Tensor& matrix : {h, any}) {
    const int64_t n = matrix.size(0);
    const Transform transform = Transform::of_matrix(matrix, 1);
    const at::Tensor x = at::randn({7, 2 * n}), twice = at::block_diag({matrix, matrix});
    const double bound = 2 * double(n) * 0x1p-22;
    EXPECT_LE(largest(transform.columns(x), at::mm(x, twice)), bound);
    EXPECT_LE(largest(transform.transposed().columns(x), at::mm(x, twice.t())), bound);
    EXPECT_LE(largest(transform.transposed().transposed().columns(x), at::mm(x, twice)), bound);
    EXPECT_LE(largest(transform.rows(x.t()), at::mm(twice.t(), x.t())), bound);
    EXPECT_TRUE(transform.matrix_rows(2, 3).equal(transform.matrix().narrow(0, 2, 3)));
    EXPECT_LE(largest(transform.columns(x.view({7, 2, n})[3]), at::mm(x.view({7, 2, n})[3], matrix)), bound);
  }
}

TEST(Transform, ThreadsDoNotMatter) {
  const int threads = at::get_num_threads();
  at::manual_seed(8);
  const at::Tensor x = at::randn({9000, 64});
  const Transform transform = Transform::of_matrix(sylvester(64), 0.125);
  at::set_num_threads(1);
  const at::Tensor alone = transform.columns(x);
  at::set_num_threads(3);
  EXPECT_TRUE(transform.columns(x).equal(alone));
  at::set_num_threads(threads);
}

template <class Call>
void expect_refused(ErrorKind kind, const char* part, Call call) {
  try {
    call();
    ADD_FAILURE() << part;
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind);
    EXPECT_THAT(e.what(), HasSubstr(part));
  }
}

TEST(Transform, WhatIsNoSquareMatrixIsRefused) {
  expect_refused(ErrorKind::InvalidArgument, "expected a square matrix of floats",
                 [] { Transform::of_matrix(at::ones({2, 3}), 1); });
  expect_refused(ErrorKind::InvalidArgument, "expected a square matrix of floats",
                 [] { Transform::of_matrix(at::ones({2, 2}, at::kInt), 1); });
  expect_refused(ErrorKind::InvalidArgument, "6 columns are not runs of 4",
                 [] { Transform::of_matrix(at::ones({4, 4}), 1).columns(at::ones({2, 6})); });
  at::Tensor broken = at::ones({4, 4});
  broken[2][1].fill_(std::numeric_limits<float>::quiet_NaN());
  expect_refused(ErrorKind::Numerical, "NaN or infinity", [&] { Transform::of_matrix(broken, 1); });
}

}  // namespace
}  // namespace swage::ops
