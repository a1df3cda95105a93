// The solvers of a weight where it lies: one interface to those of the CPU (gptq.h, refine.h) and those of a GPU
// (on_device.h). O output rows, I input columns.
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>

#include "swage/solvers/gptq.h"
#include "swage/solvers/grid.h"
#include "swage/solvers/refine.h"

namespace swage::solvers {

// All tensors of a call are on the solver's device. Calls may come from several threads.
class Solver {
 public:
  virtual ~Solver() = default;
  // As the function of this name in gptq.h.
  virtual GptqFactor gptq_factor(const at::Tensor& gram_II, const GptqOptions& options) const = 0;
  virtual GptqResult gptq_solve(const at::Tensor& w_OI, const GptqFactor& factor, const Grid& grid,
                                bool keep_zeros) const = 0;
  // As the function of this name in refine.h.
  virtual double refine(const at::Tensor& w_OI, const at::Tensor& gram_II, const RefineOptions& options,
                        at::Tensor& codes_OI, Grid& grid) const = 0;
  // The sum of (w - q)^2.
  virtual double squared_difference(const at::Tensor& w_OI, const at::Tensor& codes_OI, const Grid& grid) const = 0;
};

// Of the CPU, or of the GPU that ops::to_torch() gave.
std::unique_ptr<const Solver> solver_of(at::Device device);

}  // namespace swage::solvers
