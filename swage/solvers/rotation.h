// Orthogonal matrices that spread outliers over all columns: plain and randomly signed Hadamard matrices (QuIP#, Tseng
// et al. 2024, arXiv:2402.04396; QuaRot, Ashkboos et al. 2024, arXiv:2404.00456) and random rotations (QuIP, Chee et
// al. 2023, arXiv:2307.13304).
#pragma once
#include <cstdint>

#include "swage/ops/transform.h"

namespace swage::solvers {

enum class RotationKind {
  Hadamard,        // H / sqrt(n)
  RandomHadamard,  // diag(random signs) H / sqrt(n)
  RandomMatrix,    // uniform over the orthogonal matrices
};

// An orthogonal matrix [n, n] from `seed` alone, the same everywhere. Error(InvalidArgument) for an order without a
// Hadamard matrix, if the kind needs one.
ops::Transform rotation(RotationKind kind, int64_t n, uint64_t seed);

}  // namespace swage::solvers
