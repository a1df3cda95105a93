// The small steps between the products of a forward, row by row, where the tensors are: by kernels of the CPU or of the
// GPU (kernels/rows.h) for f32 that is contiguous, else by ATen.
// T tokens, H heads, R numbers of a head that turn, F = R/2 frequencies, I columns.
#pragma once
#include <ATen/core/Tensor.h>

namespace swage::ops {

// x / sqrt(mean(x^2) + epsilon) * weight over the last dimension, of the size of `weight`. A new tensor.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);
// The same in x's memory.
void rms_norm_(at::Tensor& x, const at::Tensor& weight, double epsilon);

// Turns every head of x [T, H, R] in place, numbers i and i + R/2 together, by the angles whose cosines and sines are
// [T, F].
void rotate_halves_(at::Tensor& x_THR, const at::Tensor& cos_TF, const at::Tensor& sin_TF);
// The same with 2i and 2i + 1 together.
void rotate_pairs_(at::Tensor& x_THR, const at::Tensor& cos_TF, const at::Tensor& sin_TF);

// x * sigmoid(x), in x's memory; on the CPU the same bits wherever a number lies, as ATen's are not in the last lanes
// of a vector.
void silu_each_(at::Tensor& x);
// gate * sigmoid(gate) * up, in `gate`'s memory.
void silu_multiply_(at::Tensor& gate, const at::Tensor& up);

// What is in each column of x [T, I], T > 0.
struct ColumnRanges {
  at::Tensor low_I, high_I;  // f32
  at::Tensor sum_abs_I;      // f64: of |x|; undefined if it is not wanted
};
ColumnRanges column_ranges(const at::Tensor& x_TI, bool sum_abs);

}  // namespace swage::ops
