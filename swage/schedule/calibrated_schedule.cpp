#include "swage/schedule/calibrated_schedule.h"

#include <algorithm>

#include "swage/base/error.h"
#include "swage/job/steps.h"

namespace swage::pipeline {
namespace {

using model::BlockShape, model::InputGroup, model::ModuleInfo, model::Stage;

class Builder {
 public:
  explicit Builder(const PlanInput& input) : in_(input) {}

  CalibratedSchedule build() const {
    CalibratedSchedule out;
    const int64_t blocks = int64_t(in_.shape.blocks.size());
    for (int64_t b = 0; b < blocks; ++b) out.push_back({block_step(b), b, actions_of(b, b + 1 == blocks)});
    for (const ModuleInfo& end : in_.shape.ends) {
      if (!is_solved(end)) continue;
      Section& section = out.emplace_back(Section{end.name, -1, {}});
      section.actions.push_back(actions::solve_end(end));
    }
    return out;
  }

 private:
  bool is_solved(const ModuleInfo& module) const {
    return in_.assignment.find(module.name) != nullptr || in_.sparsity.find(module.name) != nullptr;
  }

  bool head_is_solved() const {
    return std::any_of(in_.shape.ends.begin(), in_.shape.ends.end(),
                       [&](const ModuleInfo& end) { return !end.is_embedding() && is_solved(end); });
  }

  std::vector<ActionPtr> actions_of(int64_t b, bool last) const {
    const BlockShape& block = in_.shape.blocks[size_t(b)];
    std::vector<ActionPtr> out;
    out.push_back(actions::enter_block(cat("layer ", b), b));
    for (size_t s = 0; s < block.stages.size(); ++s) {
      const Stage& stage = block.stages[s];
      const std::string at = cat("layer ", b, ", ", stage.name);
      if (in_.whole != nullptr && block.experts > 0 && stage.routes) out.push_back(actions::prune_experts(at, b));
      out.push_back(actions::enter_stage(at, int64_t(s)));
      if (!in_.chain.rescalers.empty()) out.push_back(actions::rescale(at, b, int64_t(s)));
      add_solving(at, b, int64_t(s), out);
      const bool nothing_reads_it = last && s + 1 == block.stages.size() && !head_is_solved();
      if (!nothing_reads_it) out.push_back(actions::step(at, b, int64_t(s)));
    }
    out.push_back(actions::finish_block(cat("layer ", b), b));
    return out;
  }

  void add_solving(const std::string& at, int64_t b, int64_t s, std::vector<ActionPtr>& out) const {
    const BlockShape& block = in_.shape.blocks[size_t(b)];
    const Stage& stage = block.stages[size_t(s)];
    for (size_t g = 0; g < stage.groups.size(); ++g) {
      bool pruned = false, quantized = false;
      for (const int index : stage.groups[g].linears) {
        const std::string& name = block.linears[size_t(index)].name;
        pruned = pruned || in_.sparsity.find(name) != nullptr;
        quantized = quantized || in_.assignment.find(name) != nullptr;
      }
      if (pruned) out.push_back(actions::prune(at, b, s, int64_t(g)));
      if (quantized) out.push_back(actions::quantize(at, b, s, int64_t(g)));
    }
  }

  const PlanInput& in_;
};

}  // namespace

CalibratedSchedule calibrated_schedule(const PlanInput& input) { return Builder(input).build(); }

std::unique_ptr<PassCosts> costs_of(const CalibratedSchedule& schedule, const PlanInput& input) {
  auto costs = std::make_unique<PassCosts>(input);
  add_costs(schedule, *costs);
  return costs;
}

}  // namespace swage::pipeline
