// What a linear should compute once its inputs are no longer those of the float model: the weights that bring its
// outputs on the changed inputs nearest to the float model's outputs, found before they are rounded. With X the float
// inputs, Xq those that the quantized layers before it give, and E what the residual stream lacks at the place where
// the outputs are added:
//   W* = argmin ||W X + E - W* Xq||^2 + ridge ||W* - W||^2 = W + D (H + ridge I)^-1,  D = (W (X - Xq) + E) Xq^T,  H =
//   Xq Xq^T
// (columns of X are tokens). Without E: the asymmetric calibration of GPTAQ (Li et al. 2025, arXiv:2504.02692) in the
// form of Qronos (Zhang et al. 2025, arXiv:2505.11695). O output rows, I input columns.
#pragma once
#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

namespace swage::solvers {

// Sums over tokens, f64, CPU.
struct TargetMoments {
  at::Tensor gram_II;      // Xq Xq^T
  at::Tensor inputs_II;    // (X - Xq) Xq^T
  at::Tensor residual_OI;  // E Xq^T; undefined: nothing is added to
};

struct CorrectedTarget {
  at::Tensor weight_OI;  // W*, f32
  double ridge = 0;      // share of the mean of diag(H); 0: no ridge helped the tokens held out, and W* is W
  // By how much W* lowers the squared error of the outputs, as a share of the outputs' own sum of squares.
  double fitted = 0, held_out = 0;
};

// The targets of linears that read one input. The ridge is the one of a few from 0.01 to 3 that helps most on the
// tokens of `held_out` when found on those of `fit` alone, judged by some 128 to 255 rows of the linear; with it W* is
// then found on both. Results do not depend on the number of threads. Error(InvalidArgument) for shapes that do not
// fit, Error(Numerical) for moments that are not finite.
std::vector<CorrectedTarget> correct_targets(const std::vector<at::Tensor>& weights, const TargetMoments& fit,
                                             const TargetMoments& held_out);
// What that takes at most beside the moments and the weights, for linears of so many rows and columns.
double target_bytes(std::span<const int64_t> rows, int64_t columns, int threads);

}  // namespace swage::solvers
