// Between schemes and solvers: the grid a scheme means, and solved codes as stored weights.
#pragma once
#include <string>

#include "swage/modifiers/modifier.h"
#include "swage/ops/quadratic_form.h"
#include "swage/solvers/grid.h"

namespace swage::modifiers {

// The grid of a weight's scheme for a weight whose scales are stored as `stored_dtype`.
// Error(Unsupported) for number types and strategies no solver has.
solvers::GridSpec grid_spec(const scheme::QuantizationArgs& args, at::ScalarType stored_dtype);
// Whether the solvers for GPUs (solvers/on_device.h) take the task: its weight lies on one and its grid is one of
// theirs.
bool fits_device(const LinearTask& task);
// The global scale of linears that are solved together and fused by engines, for those of `tasks` whose scheme has one;
// undefined if none has.
at::Tensor global_scale_of(std::span<const LinearTask> tasks);
// The task's weight rounded to the nearest values of the grid.
SolvedLinear round_to_nearest(const LinearTask& task, const solvers::Grid& grid);
// Codes and grid as a weight to be stored. A code whose value would be beyond bf16, or beyond f16 with scales in f16,
// becomes the next smaller one; Error(Numerical) for scales that are not finite.
format::QuantizedWeight to_stored(const at::Tensor& codes_OI, const solvers::Grid& grid);
using ops::quadratic_form;
// The sum of x^2, f32 [O, I]; likewise.
double squared_sum(const at::Tensor& x_OI);
// Fills `loss` and `relative_error` from tr(dW H dW^T) and tr(W H W^T) over `tokens`, or ||dW||^2 and ||W||^2 with
// tokens = 1.
void report_error(double error, double whole, int64_t tokens, SolvedLinear& out);

}  // namespace swage::modifiers
