#include "swage/schedule/owl.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>

#include "swage/base/error.h"
#include "swage/eval/forward.h"
#include "swage/job/steps.h"

namespace swage::pipeline {
namespace {

using model::Flow, modifiers::Sparsifier;

bool asks_for_owl(const Sparsifier& sparsifier) { return sparsifier.rules().owl_m > 0; }

// By the first module of each.
std::vector<const Sparsifier*> all_that_ask(const Sparsity& sparsity) {
  std::vector<const Sparsifier*> out;
  for (const auto& [name, choice] : sparsity.of_module) {
    if (asks_for_owl(*choice.by) && std::find(out.begin(), out.end(), choice.by) == out.end()) out.push_back(choice.by);
  }
  return out;
}

bool is_pruned_by(const Sparsity& sparsity, const Sparsifier& by, const std::string& name) {
  const Sparsity::Choice* choice = sparsity.find(name);
  return choice != nullptr && choice->by == &by;
}

// Sum over the sequences of the norms of the input's columns.
at::Tensor column_norms(const Activations& activations, const LinearInput& input) {
  const std::vector<Flow>& flows = activations.flows();
  std::vector<at::Tensor> norms(flows.size());
  eval::for_each_parallel(int64_t(flows.size()), [&](int64_t i) {
    norms[size_t(i)] = input.transformed(flows[size_t(i)].input_TI).square().sum(0).sqrt_();
    activations.release(size_t(i));
  });
  at::Tensor sum_I = at::zeros_like(norms[0]);
  for (const at::Tensor& norm_I : norms) sum_I.add_(norm_I);  // in their order, whoever made them
  return sum_I;
}

void set_shares(const model::Model& model, const std::vector<double>& percents, const Sparsifier& by,
                Sparsity& sparsity) {
  std::vector<double> of_pruned;
  std::vector<int64_t> place(percents.size(), -1);
  for (size_t b = 0; b < percents.size(); ++b) {
    if (percents[b] < 0) continue;
    place[b] = int64_t(of_pruned.size());
    of_pruned.push_back(percents[b]);
  }
  SWAGE_CHECK(!of_pruned.empty(), InvalidArgument, by.name(),
              ": sparsity_profile owl: nothing in the layers of the model is pruned");
  const std::vector<double> shares = solvers::owl_shares(of_pruned, by.rules().pattern.sparsity, by.rules().owl_lambda);
  for (const model::ModuleInfo& module : model.modules()) {
    const auto found = sparsity.of_module.find(module.name);
    if (found == sparsity.of_module.end() || found->second.by != &by || module.block < 0) continue;
    found->second.pattern.sparsity = shares[size_t(place[size_t(module.block)])];
  }
}

}  // namespace

bool needs_owl(const Sparsity& sparsity) { return !all_that_ask(sparsity).empty(); }

void OutlierCounts::measure(const model::Block& block, const model::Stage& stage, const Activations& activations) {
  at::Tensor norm_I;  // one input for the whole stage
  LinearInput measured;
  for (const model::InputGroup& group : stage.groups) {
    for (const int index : group.linears) {
      const model::Linear& linear = block.linears[size_t(index)];
      if (!is_pruned_by(sparsity_, by_, linear.name)) continue;
      if (!norm_I.defined() || measured.transform != linear.input_transform) {
        measured = {linear.input_transform};
        norm_I = column_norms(activations, measured);
      }
      layer_.push_back({linear.weight_OI, norm_I});
    }
  }
}

void OutlierCounts::count() {
  percents_.push_back(layer_.empty() ? -1 : solvers::outlier_percent(layer_, by_.rules().owl_m));
  layer_.clear();
}

FloatSchedule owl_schedule(const PlanInput& input, const Sparsifier& by) {
  FloatSchedule out;
  out.emplace_back(FloatSection{"embed", -1, {}}).actions.push_back(actions::embed());
  const size_t blocks = input.shape.blocks.size();
  for (size_t b = 0; b < blocks; ++b) {
    const model::BlockShape& block = input.shape.blocks[b];
    const int64_t index = int64_t(b);
    std::vector<FloatActionPtr>& layer = out.emplace_back(FloatSection{block_step(index), index, {}}).actions;
    layer.push_back(actions::enter_float_block(cat("layer ", b), index));
    for (size_t s = 0; s < block.stages.size(); ++s) {
      const std::string at = cat("layer ", b, ", ", block.stages[s].name);
      const auto is_pruned = [&](int linear) {
        return is_pruned_by(input.sparsity, by, block.linears[size_t(linear)].name);
      };
      const bool any = std::any_of(block.stages[s].groups.begin(), block.stages[s].groups.end(),
                                   [&](const model::InputGroup& group) {
                                     return std::any_of(group.linears.begin(), group.linears.end(), is_pruned);
                                   });
      if (any) layer.push_back(actions::measure_norms(at, index, int64_t(s)));
      const bool nothing_reads_it = b + 1 == blocks && s + 1 == block.stages.size();
      if (!nothing_reads_it) layer.push_back(actions::float_step(at, index, int64_t(s)));
    }
    layer.push_back(actions::count_outliers(cat("layer ", b), index));
    layer.push_back(actions::leave_float_block(cat("layer ", b), index));
  }
  return out;
}

PlanStage plan_owl(const PlanInput& input) {
  PlanStage out{.name = "owl", .at = {}, .parts = {}, .work = {}};
  for (const Sparsifier* by : all_that_ask(input.sparsity)) {
    const PlanStage one = plan_float_pass(owl_schedule(input, *by), input, "owl");
    out.work += one.work;
    if (one.host_bytes() + one.device_bytes() <= out.host_bytes() + out.device_bytes()) continue;
    out.at = one.at;
    out.parts = one.parts;
  }
  return out;
}

void find_owl_shares(const FloatPassJob& job, const at::Tensor& ids_NL, Sparsity& sparsity) {
  for (const Sparsifier* by : all_that_ask(sparsity)) {
    OutlierCounts counts(sparsity, *by);
    FloatPass pass{job, ids_NL, "owl", "weighing", "owl"};
    pass.outliers = &counts;
    run_float_pass(pass, owl_schedule(job.planned, *by));
    set_shares(job.model, counts.percents(), *by, sparsity);
  }
}

}  // namespace swage::pipeline
