#include "swage/modifiers/magnitude_pruning.h"

#include "swage/base/error.h"
#include "swage/base/fields.h"
#include "swage/solvers/prune_masks.h"

namespace swage::modifiers {
namespace {

SparsityRules rules_of(const MagnitudePruningConfig& config, const std::string& source) {
  SWAGE_CHECK(!config.apply_globally, Unsupported, source,
              ": apply_globally: one threshold for all layers is not supported");
  SparsityFields fields{config.targets, config.ignore, config.sparsity, {}, 0, 0, config.mask_structure};
  // One shot is the first step of LLM Compressor's schedule.
  if (fields.sparsity.is_null() && config.init_sparsity) fields.sparsity = *config.init_sparsity;
  return parse_rules(fields, source);
}

}  // namespace

MagnitudePruning::MagnitudePruning(MagnitudePruningConfig config, const std::string& source)
    : config_(std::move(config)),
      rules_(rules_of(config_, source)) {}

Json MagnitudePruning::config() const { return write_fields(config_); }

std::vector<SparsifiedLinear> MagnitudePruning::sparsify(std::span<const LinearTask> tasks,
                                                         const Statistics& statistics,
                                                         const solvers::SparsityPattern& pattern) const {
  std::vector<SparsifiedLinear> out;
  for (const LinearTask& task : tasks) {
    const at::Tensor w_OI = task.weight_OI.to(at::kCPU, at::kFloat);
    out.push_back(masked(w_OI, solvers::magnitude_mask(w_OI, pattern), statistics));
  }
  return out;
}

ConstantPruning::ConstantPruning(ConstantPruningConfig config, const std::string&) : config_(std::move(config)) {
  rules_.targets = config_.targets;
  rules_.ignore = config_.ignore;
  rules_.pattern.sparsity = 0;
  rules_.keeps_weights = true;
}

Json ConstantPruning::config() const { return write_fields(config_); }

std::vector<SparsifiedLinear> ConstantPruning::sparsify(std::span<const LinearTask> tasks, const Statistics&,
                                                        const solvers::SparsityPattern&) const {
  std::vector<SparsifiedLinear> out;
  for (const LinearTask& task : tasks) {
    const at::Tensor w_OI = task.weight_OI.to(at::kCPU, at::kFloat);
    out.push_back(with_error(w_OI, w_OI.clone(), 0, 1, 1));
  }
  return out;
}

Cost MagnitudePruning::cost(std::span<const LinearShape> linears, const CostSetting&) const {
  const GroupSize size = size_of(linears);
  return {.scratch_bytes = uint64_t(5 * size.all + 12 * size.largest),
          .flops = 0,
          .passes = size.all * 20,
          .small_bytes = 0};  // results and masks, errors and their squares
}

Cost ConstantPruning::cost(std::span<const LinearShape> linears, const CostSetting&) const {
  const GroupSize size = size_of(linears);
  return {.scratch_bytes = uint64_t(4 * size.all), .flops = 0, .passes = size.all * 2, .small_bytes = 0};
}

}  // namespace swage::modifiers
