#include "swage/modifiers/gptq.h"

#include "swage/base/error.h"
#include "swage/base/fields.h"
#include "swage/modifiers/solver_glue.h"

namespace swage::modifiers {
namespace {

solvers::ActOrder act_order_named(const std::string& name, const std::string& source) {
  if (name == "static" || name == "weight") return solvers::ActOrder::Static;
  if (name == "group" || name == "dynamic") return solvers::ActOrder::Group;
  SWAGE_CHECK(name == "none", InvalidArgument, source, ": actorder \"", name, "\": expected static, group or none");
  return solvers::ActOrder::None;
}

}  // namespace

Gptq::Gptq(GptqConfig config, const std::string& source) : config_(std::move(config)) {
  SWAGE_CHECK(config_.dampening_frac >= 0 && config_.dampening_frac < 1, InvalidArgument, source, ": dampening_frac ",
              config_.dampening_frac, ": expected a number from 0 to 1");
  options_.dampening = config_.dampening_frac;
  options_.act_order = act_order_named(config_.actorder, source);
  search_ = scale_search(config_.scale_search, config_.norm, source);
  SWAGE_CHECK(config_.sweeps >= 0 && config_.sweeps <= 100, InvalidArgument, source, ": sweeps ", config_.sweeps, ": expected a number from 0 to 100");
  refine_ = {int(config_.sweeps), config_.refit_scales};
}

Json Gptq::config() const { return write_fields(config_); }

std::string Gptq::actorder() const {
  if (options_.act_order == solvers::ActOrder::Static) return "static";
  return options_.act_order == solvers::ActOrder::Group ? "group" : "";
}

std::vector<SolvedLinear> Gptq::quantize(std::span<const LinearTask> tasks, const Statistics& statistics) const {
  const at::Tensor global_scale = global_scale_of(tasks);
  std::vector<SolvedLinear> out;
  if (!statistics.gram_II.defined()) {  // an embedding: its inputs are single ones, so that no error can make up for another
    for (const LinearTask& task : tasks) out.push_back(round_to_nearest(task, search_, global_scale));
    return out;
  }
  const solvers::GptqFactor factor = solvers::gptq_factor(statistics.gram_II, options_);
  const at::Tensor gram_II = statistics.gram_II.to(at::kCPU, at::kFloat);  // the solver's kernels run there
  for (const LinearTask& task : tasks) {
    try {
      out.push_back(quantize_one(task, factor, gram_II, global_scale, statistics.tokens));
    } catch (Error& e) {
      e.add_context(task.name);
      throw;
    }
  }
  return out;
}

SolvedLinear Gptq::quantize_one(const LinearTask& task, const solvers::GptqFactor& factor, const at::Tensor& gram_II, const at::Tensor& global_scale,
                                int64_t tokens) const {
  const at::Tensor w_OI = task.weight_OI.to(at::kCPU, at::kFloat);
  const solvers::GridSpec spec = grid_spec(*task.scheme->weights, task.stored_dtype);
  at::Tensor g_idx_I;
  if (options_.act_order == solvers::ActOrder::Group && spec.group_size > 0) g_idx_I = solvers::group_act_order_g_idx(factor, spec.group_size);
  const bool has_global = spec.scale_dtype == at::kFloat8_e4m3fn;
  solvers::Grid grid = solvers::find_grid(w_OI, spec, search_, g_idx_I, has_global ? global_scale : at::Tensor());
  solvers::GptqResult result = solvers::gptq_solve(w_OI, factor, grid);
  double error;
  if (refine_.sweeps > 0) {
    error = solvers::refine(w_OI, gram_II, refine_, result.codes_OI, grid);
  } else {  // the solver's loss is that of the dampened Hessian
    error = result.loss - factor.dampening_added * solvers::squared_error(w_OI, result.codes_OI, grid).difference;
  }
  SolvedLinear out;
  out.weight = to_stored(result.codes_OI, grid);
  report_error(error, quadratic_form(w_OI, gram_II), tokens, out);
  if (factor.retries > 0) {
    out.warnings.push_back(cat("the Hessian was not positive definite: dampening raised to ", factor.dampening_used));
  }
  return out;
}

}  // namespace swage::modifiers
