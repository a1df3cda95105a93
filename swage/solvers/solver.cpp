#include "swage/solvers/solver.h"

#include "swage/ops/device.h"
#include "swage/solvers/on_device.h"

namespace swage::solvers {
namespace {

class HostSolver : public Solver {
 public:
  GptqFactor gptq_factor(const at::Tensor& gram_II, const GptqOptions& options) const override {
    return solvers::gptq_factor(gram_II, options);
  }
  GptqResult gptq_solve(const at::Tensor& w_OI, const GptqFactor& factor, const Grid& grid,
                        bool keep_zeros) const override {
    return solvers::gptq_solve(w_OI, factor, grid, keep_zeros);
  }
  double refine(const at::Tensor& w_OI, const at::Tensor& gram_II, const RefineOptions& options, at::Tensor& codes_OI,
                Grid& grid) const override {
    return solvers::refine(w_OI, gram_II, options, codes_OI, grid);
  }
  double squared_difference(const at::Tensor& w_OI, const at::Tensor& codes_OI, const Grid& grid) const override {
    return squared_error(w_OI, codes_OI, grid).difference;
  }
};

}  // namespace

std::unique_ptr<const Solver> solver_of(at::Device device) {
  if (ops::is_host(device)) return std::make_unique<HostSolver>();
  return std::make_unique<DeviceSolver>(ops::device_kernels());
}

}  // namespace swage::solvers
