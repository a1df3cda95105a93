#include "swage/solvers/hadamard.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/kron.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <vector>

#include "swage/base/error.h"

namespace swage::solvers {
namespace {

bool is_prime(int64_t q) {
  if (q < 2) return false;
  for (int64_t d = 2; d * d <= q; ++d) {
    if (q % d == 0) return false;
  }
  return true;
}

bool is_power_of_two(int64_t n) { return n > 0 && (n & (n - 1)) == 0; }

// q of Paley's first and second construction of this order; 0 if it has none.
int64_t first_prime(int64_t order) { return order % 4 == 0 && is_prime(order - 1) ? order - 1 : 0; }
int64_t second_prime(int64_t order) {
  const int64_t q = order / 2 - 1;
  return order % 4 == 0 && q % 4 == 1 && is_prime(q) ? q : 0;
}

// Jacobsthal's matrix: 1 where i - j is a square modulo q, -1 where it is not, 0 on the diagonal.
at::Tensor jacobsthal(int64_t q) {
  std::vector<double> character(static_cast<size_t>(q), -1);
  character[0] = 0;
  for (int64_t x = 1; x < q; ++x) character[static_cast<size_t>(x * x % q)] = 1;
  at::Tensor out = at::empty({q, q}, at::kDouble);
  double* value = out.mutable_data_ptr<double>();
  for (int64_t i = 0; i < q; ++i) {
    for (int64_t j = 0; j < q; ++j) value[i * q + j] = character[static_cast<size_t>((i - j + q) % q)];
  }
  return out;
}

// [0, 1; sign, Q]: skew-symmetric with sign -1 where Q is (q = 3 mod 4), else symmetric; its square is +-q I.
at::Tensor bordered(int64_t q, double sign) {
  at::Tensor out = at::zeros({q + 1, q + 1}, at::kDouble);
  out.narrow(0, 0, 1).narrow(1, 1, q).fill_(1);
  out.narrow(0, 1, q).narrow(1, 0, 1).fill_(sign);
  out.narrow(0, 1, q).narrow(1, 1, q).copy_(jacobsthal(q));
  return out;
}

at::Tensor pair_of_rows(double a, double b, double c, double d) {
  at::Tensor out = at::empty({2, 2}, at::kDouble);
  double* value = out.mutable_data_ptr<double>();
  value[0] = a, value[1] = b, value[2] = c, value[3] = d;
  return out;
}

at::Tensor sylvester(int64_t n) {
  at::Tensor out = at::ones({1, 1}, at::kDouble);
  while (out.size(0) < n) out = at::kron(pair_of_rows(1, 1, 1, -1), out);
  return out;
}

at::Tensor paley(int64_t order) {
  if (const int64_t q = first_prime(order)) return bordered(q, -1).add(at::eye(order, at::kDouble));
  const int64_t q = second_prime(order);
  return at::kron(bordered(q, 1), pair_of_rows(1, 1, 1, -1))
      .add(at::kron(at::eye(q + 1, at::kDouble), pair_of_rows(1, -1, -1, -1)));
}

}  // namespace

int64_t hadamard_core(int64_t n) {
  if (is_power_of_two(n)) return 1;
  int64_t odd = n;
  while (odd > 0 && odd % 2 == 0) odd /= 2;
  for (int64_t order = 4 * odd; odd > 0 && order <= n; order *= 2) {
    if (n % order == 0 && (first_prime(order) || second_prime(order))) return order;
  }
  return 0;
}

at::Tensor hadamard(int64_t n) {
  const int64_t core = hadamard_core(n);
  SWAGE_CHECK(core > 0, InvalidArgument, "no Hadamard matrix of order ", n, " is known here");
  return core == 1 ? sylvester(n) : at::kron(paley(core), sylvester(n / core));
}

}  // namespace swage::solvers
