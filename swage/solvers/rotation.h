// Orthogonal matrices that spread outliers over all columns: plain and randomly signed Hadamard matrices (QuIP#, Tseng et al. 2024,
// arXiv:2402.04396; QuaRot, Ashkboos et al. 2024, arXiv:2404.00456) and random rotations (QuIP, Chee et al. 2023, arXiv:2307.13304).
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace swage::solvers {

enum class RotationKind {
  Hadamard,        // H / sqrt(n)
  RandomHadamard,  // diag(random signs) H / sqrt(n)
  RandomMatrix,    // uniform over the orthogonal matrices
};

// An orthogonal matrix R [n, n], kept as diag(signs) (outer x inner), a Kronecker product, so that a row takes n (a + b) products
// instead of n^2 where n = a b. Calls are const and may run in several threads.
class Rotation {
 public:
  // From `seed` alone, the same everywhere. Error(InvalidArgument) for an order without a Hadamard matrix, if the kind needs one.
  Rotation(RotationKind kind, int64_t n, uint64_t seed);

  int64_t size() const { return size_; }
  // x [..., k n] f32 -> x (I x R): every run of n columns times R. A new tensor on the CPU; the same bits for any number of threads.
  at::Tensor columns(const at::Tensor& x) const;
  // x [..., k n, I] f32 -> (I x R)^T x: the same for runs of n rows.
  at::Tensor rows(const at::Tensor& x) const;
  // R, f32.
  at::Tensor matrix() const;

 private:
  int64_t size_;
  at::Tensor signs_N;            // f32; undefined: all 1
  at::Tensor outer_AA, inner_BB;  // f32; outer undefined: 1
};

}  // namespace swage::solvers
