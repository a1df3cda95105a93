#include "swage/solvers/rotation.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <numbers>

#include "swage/base/error.h"
#include "swage/solvers/hadamard.h"
#include "swage/solvers/tiled_algebra.h"

namespace swage::solvers {
namespace {

// splitmix64 (Steele, Lea, Flood 2014), so that a seed means the same matrix everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t bits() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  double uniform() { return (double(bits() >> 11) + 0.5) * 0x1p-53; }  // in (0, 1)
  double normal() {
    return std::sqrt(-2 * std::log(uniform())) * std::cos(2 * std::numbers::pi * uniform());
  }  // Box and Muller 1958

 private:
  uint64_t state_;
};

at::Tensor random_signs(int64_t n, uint64_t seed) {
  Random random(seed);
  at::Tensor out = at::empty({n}, at::kFloat);
  float* value = out.mutable_data_ptr<float>();
  for (int64_t i = 0; i < n; ++i) value[i] = random.bits() >> 63 ? 1.0f : -1.0f;
  return out;
}

// a_MK b_KN in sums of fixed order.
at::Tensor tiled_product(const at::Tensor& a_MK, const at::Tensor& b_KN) {
  at::Tensor out_MN = at::zeros({a_MK.size(0), b_KN.size(1)}, at::kDouble);
  add_product(a_MK, b_KN, 1, out_MN);
  return out_MN;
}

// Q of a_NN = Q R with a positive diagonal of R, R from the Cholesky factor of a^T a; orthogonal to within the square
// of a's condition in rounding errors. Undefined where a is too close to singular for that.
at::Tensor cholesky_q(const at::Tensor& a_NN) {
  const int64_t n = a_NN.size(0);
  at::Tensor gram_NN = tiled_product(a_NN.t().contiguous(), a_NN);
  UpperCholesky r = upper_cholesky(
      n, [&, gram = gram_NN.const_data_ptr<double>()](int64_t row, int64_t column) { return gram[row * n + column]; });
  gram_NN.reset();
  if (!r.ok()) return {};
  at::Tensor transposed_NN = at::zeros({n, n}, at::kDouble);  // R^T
  double* to = transposed_NN.mutable_data_ptr<double>();
  for (int64_t row = 0; row < n; ++row)
    for (int64_t column = 0; column <= row; ++column) to[row * n + column] = r.at(column, row);
  const at::Tensor solved_NN = FactoredSolver(std::move(r)).solve(a_NN);  // a (R^T R)^-1
  return tiled_product(solved_NN, transposed_NN);
}

// Q of a Gaussian matrix whose R has a positive diagonal: uniform over the orthogonal matrices (Mezzadri 2007,
// arXiv:math-ph/0609050, section 5). Taken twice by Cholesky factors (CholeskyQR2, Fukaya et al. 2014, ScalA), since
// bits of LAPACK's QR depend on the thread that runs it.
at::Tensor random_orthogonal(int64_t n, uint64_t seed) {
  Random random(seed);
  at::Tensor gauss_NN = at::empty({n, n}, at::kDouble);
  while (true) {
    double* value = gauss_NN.mutable_data_ptr<double>();
    for (int64_t i = 0; i < n * n; ++i) value[i] = random.normal();
    const at::Tensor once_NN = cholesky_q(gauss_NN);  // one matrix in some thousands is too close to singular
    if (once_NN.defined()) return cholesky_q(once_NN);
  }
}

// Sylvester's part of n is split so that the two factors are of about the same size.
int64_t inner_size(int64_t n) {
  const int64_t most = n / hadamard_core(n);
  int64_t inner = 1;
  while (inner < most && inner * inner < n) inner *= 2;
  return inner;
}

at::Tensor normalised(const at::Tensor& hadamard) {
  return hadamard.div(std::sqrt(double(hadamard.size(0)))).to(at::kFloat);
}

}  // namespace

ops::Transform rotation(RotationKind kind, int64_t n, uint64_t seed) {
  SWAGE_CHECK(n > 0, InvalidArgument, "a rotation of ", n, " columns");
  if (kind == RotationKind::RandomMatrix) return {{}, {}, random_orthogonal(n, seed).to(at::kFloat)};
  SWAGE_CHECK(hadamard_core(n) > 0, InvalidArgument, "no Hadamard matrix of order ", n, " is known here");
  const int64_t inner = inner_size(n);
  at::Tensor signs_N, outer_AA;
  if (inner < n) outer_AA = normalised(hadamard(n / inner));
  if (kind == RotationKind::RandomHadamard) signs_N = random_signs(n, seed);
  return {signs_N, outer_AA, normalised(hadamard(inner))};
}

}  // namespace swage::solvers
