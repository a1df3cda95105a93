#include "swage/modifiers/gptq.h"

#include <algorithm>
#include <map>

#include "swage/base/error.h"
#include "swage/base/fields.h"
#include "swage/modifiers/solver_glue.h"
#include "swage/modifiers/spelled_fields.h"
#include "swage/solvers/on_device.h"
#include "swage/solvers/refine.h"

namespace swage::modifiers {
namespace {

solvers::ActOrder act_order_named(const std::string& name, const std::string& source) {
  if (name == "static" || name == "weight") return solvers::ActOrder::Static;
  if (name == "group" || name == "dynamic") return solvers::ActOrder::Group;
  SWAGE_CHECK(name == "none", InvalidArgument, source, ": actorder \"", name, "\": expected static, group or none");
  return solvers::ActOrder::None;
}

Target target_named(const std::string& name, const std::string& source) {
  if (name == "weights") return Target::Weights;
  if (name == "inputs") return Target::Inputs;
  SWAGE_CHECK(name == "residual", InvalidArgument, source, ": target \"", name,
              "\": expected weights, inputs or residual");
  return Target::Residual;
}

// What a quality means, where the config does not say otherwise.
void apply_quality(GptqConfig& config, const std::string& source) {
  const std::string& quality = config.quality;
  SWAGE_CHECK(quality == "fast" || quality == "balanced" || quality == "best", InvalidArgument, source, ": quality \"",
              quality, "\": expected fast, balanced or best");
  if (!config.target) config.target = quality == "best" ? "residual" : "weights";
}

}  // namespace

Gptq::Gptq(GptqConfig config, const std::string& source) : config_(std::move(config)) {
  SWAGE_CHECK(config_.dampening_frac >= 0 && config_.dampening_frac < 1, InvalidArgument, source, ": dampening_frac ",
              config_.dampening_frac, ": expected a number from 0 to 1");
  options_.dampening = config_.dampening_frac;
  options_.act_order = act_order_named(config_.actorder.value_or("static"), source);
  scales_ = scale_choice(config_.scale_search, "imatrix", config_.norm, source);
  apply_quality(config_, source);
  sweeps_ = ByBits(config_.sweeps, source + ": sweeps", 0, 100);
  target_ = target_named(*config_.target, source);
}

Json Gptq::config() const {
  GptqConfig out = config_;
  const std::vector<scheme::QuantizationArgs> weights = weights_of(out.quantization);
  const std::set<int> widths = widths_of(weights);
  spell_out(out.quantization);
  const bool has_order =
      std::any_of(weights.begin(), weights.end(), [](const auto& args) { return args.actorder.has_value(); });
  if (!out.actorder && !has_order) out.actorder = "static";
  if (!out.scale_search && observed(out.quantization, weights) == Observed::None) {
    out.scale_search = name_of(scales_);
    out.norm = norm_of(scales_, widths);
  }
  out.sweeps = by_bits(widths, [&](int bits) {
    scheme::QuantizationArgs args;
    args.num_bits = bits;
    return double(sweeps_of(args));
  });
  return write_fields(out);
}

std::string Gptq::actorder() const {
  if (options_.act_order == solvers::ActOrder::Static) return "static";
  return options_.act_order == solvers::ActOrder::Group ? "group" : "";
}

// A coarse grid leaves more to descend.
int Gptq::sweeps_of(const scheme::QuantizationArgs& weights) const {
  if (sweeps_.given()) return int(sweeps_.at(weights.num_bits));
  if (config_.quality == "fast") return 0;
  if (config_.quality == "best") return 4;
  return weights.num_bits <= 3 ? 3 : 2;
}

solvers::ActOrder Gptq::order_of(const LinearTask& task) const {
  const scheme::QuantizationArgs& args = *task.scheme->weights;
  if (args.actorder) return scheme::orders_groups(args) ? solvers::ActOrder::Group : solvers::ActOrder::Static;
  const bool has_groups = args.strategy == scheme::Strategy::Group;
  return options_.act_order == solvers::ActOrder::Group && !has_groups ? solvers::ActOrder::Static : options_.act_order;
}

bool Gptq::all_fit_device(std::span<const LinearTask> tasks) const {
  return std::all_of(tasks.begin(), tasks.end(), [&](const LinearTask& task) {
    return order_of(task) != solvers::ActOrder::Group && fits_device(task);
  });
}

std::vector<SolvedLinear> Gptq::quantize(std::span<const LinearTask> tasks, const Statistics& statistics) const {
  const WeightGrids grids(tasks, scales_, statistics);
  std::vector<SolvedLinear> out;
  if (!statistics.gram_II
           .defined()) {  // an embedding: its inputs are single ones, so that no error can make up for another
    for (size_t i = 0; i < tasks.size(); ++i) out.push_back(round_to_nearest(tasks[i], grids.grid(i)));
    return out;
  }
  const at::Device device = all_fit_device(tasks) ? statistics.gram_II.device() : at::Device(at::kCPU);
  const std::unique_ptr<const solvers::Solver> solver = solvers::solver_of(device);
  const at::Tensor gram_II = statistics.gram_II.to(device, at::kFloat);
  std::map<solvers::ActOrder, solvers::GptqFactor> factors;  // mostly one
  for (size_t i = 0; i < tasks.size(); ++i) {
    try {
      solvers::GptqOptions options = options_;
      options.act_order = order_of(tasks[i]);
      if (!factors.contains(options.act_order))
        factors.emplace(options.act_order, solver->gptq_factor(statistics.gram_II.to(device), options));
      const solvers::GptqFactor& factor = factors.at(options.act_order);
      const bool ordered = options.act_order == solvers::ActOrder::Group;
      const at::Tensor g_idx_I =
          ordered ? solvers::group_act_order_g_idx(factor, *tasks[i].scheme->weights->group_size) : at::Tensor();
      out.push_back(quantize_one(tasks[i], factor, gram_II, grids.grid(i, g_idx_I), statistics.tokens, *solver));
    } catch (Error& e) {
      e.add_context(tasks[i].name);
      throw;
    }
  }
  return out;
}

SolvedLinear Gptq::quantize_one(const LinearTask& task, const solvers::GptqFactor& factor, const at::Tensor& gram_II,
                                solvers::Grid grid, int64_t tokens, const solvers::Solver& solver) const {
  grid = solvers::to_device(std::move(grid), gram_II.device());
  const at::Tensor w_OI = task.weight_OI.to(gram_II.device(), at::kFloat);
  solvers::GptqResult result = solver.gptq_solve(w_OI, factor, grid, task.keep_zeros);
  double error;
  if (const int sweeps = sweeps_of(*task.scheme->weights); sweeps > 0) {
    const solvers::RefineOptions options{sweeps, config_.refit_scales, task.keep_zeros};
    error = solver.refine(w_OI, gram_II, options, result.codes_OI, grid);
  } else {  // the solver's loss is that of the dampened Hessian
    error = result.loss - factor.dampening_added * solver.squared_difference(w_OI, result.codes_OI, grid);
  }
  SolvedLinear out;
  out.weight = to_stored(result.codes_OI, grid);
  report_error(error, quadratic_form(w_OI, gram_II), tokens, out);
  if (factor.retries > 0) {
    out.warnings.push_back(cat("the Hessian was not positive definite: dampening raised to ", factor.dampening_used));
  }
  return out;
}

Cost Gptq::cost(std::span<const LinearShape> linears, const CostSetting& setting) const {
  const GroupSize size = size_of(linears);
  const double n = size.columns, square = n * n;
  Cost out = rounding_cost(linears, scales_.kind == solvers::ScaleSearch::Kind::PNorm, setting);
  if (!setting.calibrated) return out;
  int sweeps = 0;
  for (const LinearShape& linear : linears)
    sweeps = std::max(sweeps, linear.weights != nullptr ? sweeps_of(*linear.weights) : 0);
  out.flops = 2 * square * n / 3 + size.all * n * (1 + 2 + (sweeps > 0 ? 2 + 2 * sweeps : 0));
  out.passes += size.all * 2 * (1 + sweeps);
  const bool fits = std::all_of(linears.begin(), linears.end(), [](const LinearShape& linear) {
    return linear.weights == nullptr || solvers::fits_device(grid_spec(*linear.weights, at::kFloat), linear.columns);
  });
  if (setting.on_device && fits && options_.act_order != solvers::ActOrder::Group) {
    // The Gram matrix in f32; with it two matrices in f64 while it is factored, or the factor and the weight five
    // times: transposed, its values, its errors, its codes and what they are made into.
    out.on_device = true;
    out.scratch_bytes =
        uint64_t(4 * square + std::max(2 * 8 * square + 4 * square, 4 * square + 20 * size.largest) + 5 * size.all);
    return out;
  }
  // The Gram matrix in f32. With it the triangle that is factored in f64 and what is unpacked from it; or that, packed;
  // or that and what refining codes takes, or their errors alone. Codes are there with the last two.
  const int64_t rows = int64_t(size.largest / std::max(n, 1.0));
  const double factoring = 8.3 * square,
               solving = double(out.scratch_bytes) +
                         std::max(6 * square, 4 * square + solvers::refine_bytes(rows, int64_t(n), setting.threads));
  out.scratch_bytes = uint64_t(4 * square + std::max(factoring, solving));
  return out;
}

}  // namespace swage::modifiers
