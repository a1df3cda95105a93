// Hadamard matrices: entries 1 and -1, orthogonal columns. Orders 2^k (Sylvester 1867) and 2^k p with p from Paley's
// two constructions (Paley 1933, J. Math. Phys. 12) over prime fields: p = q + 1 for a prime q = 3 mod 4, p = 2 (q + 1)
// for a prime q = 1 mod 4.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace swage::solvers {

// The order p of the part that is not Sylvester's: 1 for a power of two, else the smallest p for which n / p is one; 0
// if there is none.
int64_t hadamard_core(int64_t n);

// f64 [n, n]: the core times (Kronecker product) Sylvester's matrix, which compressed-tensors'
// deterministic_hadamard_matrix() is as well. Error(InvalidArgument) for an order without one.
at::Tensor hadamard(int64_t n);

}  // namespace swage::solvers
