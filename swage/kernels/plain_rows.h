// The scalar twins of the kernels of rows; plain.cpp has the others.
#pragma once
#include "swage/kernels/rows.h"

namespace swage::kernels {

void rms_norm(const RmsNormRows& rows);
void silu_multiply(const SiluMultiply& rows);
void rotate_heads(const RotateHeads& rows);
void softmax_rows(const SoftmaxRows& rows);
void largest_size(LargestSize& rows);
void column_ranges(const ColumnRanges& rows);
void round_to_integers(const RoundToIntegers& rows);
void round_to_e4m3(const RoundToFloats& rows);
void round_to_e2m1(const RoundToFloats& rows);

// exp(x) for |x| <= 87, clamped beyond, as all of them compute it.
float exponential(float x);

}  // namespace swage::kernels
