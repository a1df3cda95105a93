#include "swage/modifiers/wanda.h"

#include "swage/base/error.h"
#include "swage/base/fields.h"
#include "swage/modifiers/solver_glue.h"
#include "swage/solvers/prune_masks.h"
#include "swage/solvers/sparse_refit.h"

namespace swage::modifiers {
namespace {

constexpr double kDampening = 0.01;  // of the refit: share of the mean diagonal, as SparseGPT's default

}  // namespace

Wanda::Wanda(WandaConfig config, const std::string& source)
    : config_(std::move(config)),
      rules_(parse_rules(config_.sparsity, source)) {
  SWAGE_CHECK(config_.sweeps >= 0 && config_.sweeps <= 100, InvalidArgument, source, ": sweeps ", config_.sweeps,
              ": expected a number from 0 to 100");
}

Json Wanda::config() const { return write_fields(config_); }

std::vector<SparsifiedLinear> Wanda::sparsify(std::span<const LinearTask> tasks, const Statistics& statistics,
                                              const solvers::SparsityPattern& pattern) const {
  std::vector<SparsifiedLinear> out;
  at::Tensor dampened_II;
  if (config_.sweeps > 0) {
    dampened_II = statistics.gram_II.to(at::kCPU, at::kFloat, /*non_blocking=*/false, /*copy=*/true);
    dampened_II.diagonal().add_(kDampening * dampened_II.diagonal().mean().item<double>());
  }
  for (const LinearTask& task : tasks) {
    const at::Tensor w_OI = task.weight_OI.to(at::kCPU, at::kFloat);
    const at::Tensor keep_OI = solvers::wanda_mask(w_OI, statistics.gram_II.diagonal().to(at::kCPU), pattern);
    if (config_.sweeps == 0) {
      out.push_back(masked(w_OI, keep_OI, statistics));
      continue;
    }
    at::Tensor q_OI = w_OI.mul(keep_OI);
    solvers::sparse_refit(w_OI, dampened_II, {pattern, int(config_.sweeps), config_.swap_supports}, q_OI);
    const at::Tensor gram_II = statistics.gram_II.to(at::kCPU, at::kFloat);
    const double error = quadratic_form(w_OI.sub(q_OI), gram_II);
    out.push_back(with_error(w_OI, q_OI, error, quadratic_form(w_OI, gram_II), statistics.tokens));
  }
  return out;
}

Cost Wanda::cost(std::span<const LinearShape> linears, const CostSetting&) const {
  const GroupSize size = size_of(linears);
  const double n = size.columns, square = n * n;
  Cost out;
  out.scratch_bytes = uint64_t(5 * size.all + 16 * size.largest +
                               (config_.sweeps > 0 ? 8 : 4) * square);  // results and masks; errors; the Gram matrix
  out.flops = size.all * n * (4 + 2 * double(config_.sweeps) * (config_.swap_supports ? 2 : 1));
  out.passes = size.all * (20 + 10 * double(config_.sweeps));
  return out;
}

}  // namespace swage::modifiers
