// Observers: from values seen to scales and zero points. Those of LLM Compressor with its formulas as defaults
// (llmcompressor 0.14, compressed-tensors 0.20), and a percentile.
//
//   name                     range of the values that share a scale
//   memoryless_minmax        smallest and largest value of the last batch
//   static_minmax            smallest and largest value of all batches
//   minmax                   moving average over batches: m <- m (1 - c) + new c, c = averaging_constant = 0.01, from
//   the first batch on memoryless_mse           the batch's range times the p of p_i = expand (1 - i / grid), i <
//   maxshrink * grid, that minimizes
//                            sum |Q(x) - x|^norm (norm 2.4, grid 100, maxshrink 0.2, expand 1); ends after `patience`
//                            (5) steps in a row that improve no group; under a global scale (NVFP4) the trial scales
//                            are not rounded
//   mse                      the moving average of memoryless_mse
//   nvfp4_expanded_mse       memoryless_mse with expand 1.8, maxshrink 1 - 0.8 / 1.8, grid 200, patience 1000 (also:
//   fouroversix) imatrix_mse              memoryless_mse with the error of column i times E[x_i^2] / mean, i <=
//   maxshrink * grid, maxshrink 0.95,
//                            grid 20, norm 3; needs set_importance()
//   nvfp4_expanded_imatrix   imatrix_mse with expand 1.8, maxshrink 1 - 0.8 / 1.8, grid 200, norm 2.4, patience 1000
//   percentile               percentiles 100 - p and p (percentile = 99.99, interpolated) of each batch, averaged over
//   batches by their size
//
// For weights minmax, static_minmax and mse mean their memoryless forms. Settings come from args.observer_kwargs.
// Ranges are kept in the dtype of the values, every step rounded to it, as the reference does. Differences on purpose:
// the error of the mse forms is computed in f32 where the reference rounds every step to the values' dtype (with bf16
// values that decides between candidates by chance), and imatrix works for blocks and whole tensors too and does not
// fall back to equal weights without data.
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "swage/scheme/quantization.h"
#include "swage/solvers/grid.h"

namespace swage::observers {

// What is observed, and how it is laid out: a weight [O, I]; an input or output of a linear [..., I], tokens before
// columns; keys, values or queries [heads, T, D].
enum class Role { Weight, Activation, Attention };

// scale: f32, rounded to the type it is stored in and, under a global scale, divided by it. Shapes as stored: [1]
// (tensor), [O, 1], [O, G], blocks, [heads, 1, 1]. zero_point: f32, undefined when symmetric. global_scale: f32 [1],
// strategy tensor_group only.
struct QuantizationParameters {
  at::Tensor scale, zero_point, global_scale;
};

// What one batch says: its range, of the scales' shape, in the dtype of the values. Undefined for a batch without
// values.
struct BatchRange {
  at::Tensor low, high;
  double values = 0;  // their number
};

// Not thread-safe but for range_of(); results do not depend on the number of threads.
class Observer {
 public:
  Observer(scheme::QuantizationArgs args, Role role);
  virtual ~Observer() = default;

  // Takes in one batch (f32, bf16 or f16, CPU, one dtype for all batches). Error(InvalidArgument) for a shape that does
  // not fit the role or the strategy, Error(Numerical) for a NaN or Inf. A batch without values is skipped.
  void observe(const at::Tensor& x) { add(range_of(x)); }
  // The two halves of observe(), for batches that are looked at in parallel: the first may run in many threads, the
  // second wants the batches in their order.
  BatchRange range_of(const at::Tensor& x) const;
  void add(const BatchRange& batch);
  bool has_range() const { return low_.defined(); }
  // The range found, in the values' dtype, of the scales' shape (attention heads: [heads, 1]).
  const at::Tensor& low() const { return low_; }
  const at::Tensor& high() const { return high_; }
  // Largest magnitude of the range: what global scales are made of.
  double absmax() const;

  // Mean of x_i^2 over calibration tokens at each input column: `sum_I` f32 [I], sums of squares over `tokens`. For
  // imatrix observers of weights, before observe(). Error(InvalidArgument) for negative or all zero values and for
  // other observers.
  void set_importance(const at::Tensor& sum_I, int64_t tokens);

  // By the formulas of solvers::find_grid(). The global scale is that of this observer's range unless given, as it must
  // be for linears that share one: see shared_global_scale().
  QuantizationParameters scale_and_zero_point(at::ScalarType stored_dtype, const at::Tensor& global_scale = {}) const;

 protected:
  // Low and high of a batch that is a matrix whose tiles are the groups.
  virtual BatchRange measure(const at::Tensor& x, const solvers::GridSpec& spec) const = 0;
  // Brings the next batch's range and those before together, by take().
  virtual void join(const BatchRange& batch) = 0;
  void take(const at::Tensor& low, const at::Tensor& high) { low_ = low, high_ = high; }

  scheme::QuantizationArgs args_;
  Role role_;
  bool weighs_columns_ = false;
  at::Tensor importance_I_;  // f32, mean 1

 private:
  at::Tensor low_, high_;
};

// Error(InvalidArgument) listing the names for an unknown one, and naming unknown settings. An empty name:
// args.observer, or else memoryless_minmax for weights and minmax for what flows.
std::unique_ptr<Observer> make_observer(const std::string& name, const scheme::QuantizationArgs& args, Role role);
std::vector<std::string> observer_names();
// Whether the observer needs set_importance().
bool needs_importance(const std::string& name);
// Whether what `args` name (make_observer()) is just the smallest and largest value of weights, seen once.
bool is_min_max(const scheme::QuantizationArgs& args, Role role);

// NVFP4's global scale for linears that an engine fuses: by the largest absmax of all. Error(InvalidArgument) if one
// has no range.
at::Tensor shared_global_scale(const std::vector<const Observer*>& observers);

}  // namespace swage::observers
