// A square matrix that multiplies weights or activations from the right, run of columns by run of columns: a rotation,
// mostly a Hadamard matrix. Those are products of small factors, which is how they are kept here.
//
// N columns of a run.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace swage::ops {

// T [n, n] as diag(signs) (outer x inner), a Kronecker product, so that a row takes n (a + b) products instead of n^2
// where n = a b. A value; calls are const and may run in several threads. Everything is f32.
class Transform {
 public:
  // signs_N undefined: all 1. outer_AA undefined: 1.
  Transform(at::Tensor signs_N, at::Tensor outer_AA, at::Tensor inner_BB);
  // scale * entries_NN, of any float type. Looks for the factors of a matrix of ones and minus ones; any other is kept
  // whole. Error(InvalidArgument) for one that is not square, Error(Numerical) for NaN and infinity.
  static Transform of_matrix(const at::Tensor& entries_NN, double scale);

  int64_t size() const { return size_; }
  bool is_factored() const { return outer_AA_.defined(); }
  // T^T.
  Transform transposed() const;
  // x [..., k n] f32 -> x (I x T): every run of n columns times T. A new tensor on x's device; the same bits for any
  // number of threads.
  at::Tensor columns(const at::Tensor& x) const;
  // x [..., k n, I] f32 -> (I x T)^T x: the same for runs of n rows.
  at::Tensor rows(const at::Tensor& x) const;
  // Rows [first, first + count) of T.
  at::Tensor matrix_rows(int64_t first, int64_t count) const;
  at::Tensor matrix() const { return matrix_rows(0, size_); }

 private:
  int64_t size_;
  bool transposed_ = false;
  at::Tensor signs_N_, outer_AA_, inner_BB_;
};

}  // namespace swage::ops
