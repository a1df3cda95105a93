#include "swage/solvers/rotation.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_qr.h>

#include <cmath>
#include <numbers>

#include "swage/base/error.h"
#include "swage/ops/parallel_tasks.h"
#include "swage/solvers/hadamard.h"

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

// Q of a Gaussian matrix, its columns signed so that R has a positive diagonal: uniform over the orthogonal matrices
// (Mezzadri 2007, arXiv:math-ph/0609050, section 5).
at::Tensor random_orthogonal(int64_t n, uint64_t seed) {
  Random random(seed);
  at::Tensor gauss = at::empty({n, n}, at::kDouble);
  double* value = gauss.mutable_data_ptr<double>();
  for (int64_t i = 0; i < n * n; ++i) value[i] = random.normal();
  at::Tensor out;
  // Of two tasks, so that it runs in a parallel region: LAPACK takes one thread there, and its bits do not depend on
  // how many there are.
  ops::parallel_tasks(
      2, [] { return 0; },
      [&](int64_t task, int) {
        if (task != 0) return;
        const auto [q, r] = at::linalg_qr(gauss);
        out = q.mul(r.diagonal().sign());
      });
  return out;
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
