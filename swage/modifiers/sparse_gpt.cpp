#include "swage/modifiers/sparse_gpt.h"

#include "swage/base/error.h"
#include "swage/base/fields.h"
#include "swage/modifiers/solver_glue.h"

namespace swage::modifiers {

SparseGpt::SparseGpt(SparseGptConfig config, const std::string& source)
    : config_(std::move(config)),
      rules_(parse_rules(config_.sparsity, source)) {
  SWAGE_CHECK(config_.dampening_frac >= 0 && config_.dampening_frac < 1, InvalidArgument, source, ": dampening_frac ",
              config_.dampening_frac, ": expected a number from 0 to 1");
  SWAGE_CHECK(config_.block_size > 0 && config_.block_size % 8 == 0, InvalidArgument, source, ": block_size ",
              config_.block_size, ": expected a multiple of 8");
  SWAGE_CHECK(config_.sweeps >= 0 && config_.sweeps <= 100, InvalidArgument, source, ": sweeps ", config_.sweeps,
              ": expected a number from 0 to 100");
}

Json SparseGpt::config() const { return write_fields(config_); }

std::vector<SparsifiedLinear> SparseGpt::sparsify(std::span<const LinearTask> tasks, const Statistics& statistics,
                                                  const solvers::SparsityPattern& pattern) const {
  const solvers::GptqFactor factor = solvers::gptq_factor(
      statistics.gram_II, {.dampening = config_.dampening_frac, .act_order = solvers::ActOrder::None});
  at::Tensor gram_II = statistics.gram_II.to(at::kCPU, at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  gram_II.diagonal().add_(factor.dampening_added);
  const solvers::SparseRefitOptions refit{pattern, int(config_.sweeps),
                                          config_.swap_supports && !config_.preserve_sparsity_mask};
  std::vector<SparsifiedLinear> out;
  for (const LinearTask& task : tasks) {
    const at::Tensor w_OI = task.weight_OI.to(at::kCPU, at::kFloat);
    solvers::SparseResult pruned =
        solvers::sparsegpt_solve(w_OI, factor, {pattern, config_.block_size, config_.preserve_sparsity_mask});
    double error = pruned.loss;
    if (config_.sweeps > 0) error = solvers::sparse_refit(w_OI, gram_II, refit, pruned.w_OI);
    const double added = factor.dampening_added * squared_sum(w_OI.sub(pruned.w_OI));
    const double whole = quadratic_form(w_OI, gram_II) - factor.dampening_added * squared_sum(w_OI);
    out.push_back(with_error(w_OI, pruned.w_OI, error - added, whole, statistics.tokens));
    if (factor.retries > 0)
      out.back().warnings.push_back(
          cat("the Hessian was not positive definite: dampening raised to ", factor.dampening_used));
  }
  return out;
}

Cost SparseGpt::cost(std::span<const LinearShape> linears, const CostSetting&) const {
  const GroupSize size = size_of(linears);
  const double n = size.columns, square = n * n;
  Cost out;
  // All results and, of one weight, its error and their product with the Gram matrix; that in f32 and the factor of it.
  out.scratch_bytes = uint64_t(4 * size.all + 12 * size.largest + 4 * square + 8.3 * square);
  out.flops =
      2 * square * n / 3 + size.all * n * (1 + 2 + 2 * double(config_.sweeps) * (config_.swap_supports ? 2 : 1));
  out.passes = size.all * (20 + 10 * double(config_.sweeps));
  return out;
}

}  // namespace swage::modifiers
