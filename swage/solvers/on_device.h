// The solvers where the weight and its statistics are on a GPU: scale search, factorization, GPTQ and refinement
// without a copy to the host. The arithmetic is that of grid.h, gptq.h and refine.h; sums are added in another order,
// so that codes at the border between two values may differ. O output rows, I input columns, G groups of columns.
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/solvers/gptq.h"
#include "swage/solvers/grid.h"
#include "swage/solvers/refine.h"
#include "swage/solvers/solver.h"

namespace swage::kernels {
struct DeviceKernels;
}

namespace swage::solvers {

// Whether a grid of `spec` is one that these functions solve: every row has its own scales, of consecutive columns of
// equal number.
bool fits_device(const GridSpec& spec, int64_t columns);

// Kernels that compute where the tensors lie: ops::device_kernels(), or those for the host in tests.
class DeviceSolver : public Solver {
 public:
  explicit DeviceSolver(const kernels::DeviceKernels& kernels) : kernels_(kernels) {}

  // As find_grid() with a search by p-norm: w_OI of any float type; scales and zero points are left on its device.
  // search.importance_I may lie elsewhere.
  Grid find_grid(const at::Tensor& w_OI, const GridSpec& spec, const ScaleSearch& search) const;
  // As gptq_factor(), by libtorch's Cholesky factorization in f64; all of the factor but its numbers is on gram_II's
  // device.
  GptqFactor gptq_factor(const at::Tensor& gram_II, const GptqOptions& options) const override;
  // As gptq_solve(); factor and grid on w_OI's device.
  GptqResult gptq_solve(const at::Tensor& w_OI, const GptqFactor& factor, const Grid& grid,
                        bool keep_zeros) const override;
  // As refine(); gram_II in f32.
  double refine(const at::Tensor& w_OI, const at::Tensor& gram_II, const RefineOptions& options, at::Tensor& codes_OI,
                Grid& grid) const override;
  double squared_difference(const at::Tensor& w_OI, const at::Tensor& codes_OI, const Grid& grid) const override;
  // Values of the codes, f32 [O, I].
  at::Tensor dequantize(const at::Tensor& codes_OI, const Grid& grid) const;

 private:
  const kernels::DeviceKernels& kernels_;
};

// Copies of the grid's tensors on `device`.
Grid to_device(Grid grid, at::Device device);

}  // namespace swage::solvers
