#include "swage/schedule/block_expert_pruner.h"

#include <ATen/ops/index_select.h>

#include <algorithm>

#include "swage/base/error.h"
#include "swage/eval/forward.h"
#include "swage/resolve/output.h"
#include "swage/solvers/expert_saliency.h"

namespace swage::pipeline {

using graph::LinearSpec, graph::Mixture;

modifiers::ExpertStatistics expert_statistics(const model::Block& block, int64_t experts,
                                              const Activations& activations) {
  const std::vector<model::Flow>& flows = activations.flows();
  std::vector<std::vector<double>> sums(flows.size(), std::vector<double>(size_t(experts)));
  eval::for_each_parallel(int64_t(flows.size()), [&](int64_t i) {
    const model::Flow& flow = flows[size_t(i)];
    for (int64_t e = 0; e < experts; ++e) {
      const at::Tensor rows = flow.routed_rows_of(int(e));
      if (rows.size(0) == 0) continue;
      const at::Tensor gate_T = flow.routed_weights.narrow(0, flow.routed_offsets[size_t(e)], rows.size(0));
      sums[size_t(i)][size_t(e)] =
          solvers::weighted_norm_sum(gate_T, block.expert_output(int(e), flow.mlp_input_TD.index_select(0, rows)));
    }
    activations.release(size_t(i));
  });
  modifiers::ExpertStatistics out{std::vector<double>(size_t(experts)), std::vector<int64_t>(size_t(experts))};
  for (size_t i = 0; i < flows.size(); ++i) {
    for (size_t e = 0; e < size_t(experts); ++e) {
      out.weighted_norms[e] += sums[i][e];
      out.tokens[e] += flows[i].routed_offsets[e + 1] - flows[i].routed_offsets[e];
    }
  }
  return out;
}

void BlockExpertPruner::restore() {
  for (int64_t b = 0; b < run_.model.blocks(); ++b) {
    const Mixture* mixture = run_.experts->source_model().mixture(b);
    if (mixture == nullptr || !run_.steps.finished(block_step(b))) continue;
    const auto is_of_block = [&](const ModuleReport& module) {
      return module.experts && module.name == mixture->router.name;
    };
    const auto report = std::find_if(run_.modules.begin(), run_.modules.end(), is_of_block);
    SWAGE_CHECK(report != run_.modules.end(), Internal,
                "the journal of the interrupted run does not say which experts of ", mixture->router.name, " stay");
    run_.experts->keep(b, report->experts->kept);
  }
}

void BlockExpertPruner::prune(model::Block& block, int64_t b) {
  const auto timed = run_.clock.time("prune experts");
  const modifiers::ExpertPruner& by = run_.experts->by();
  const modifiers::ExpertStatistics statistics = expert_statistics(block, run_.experts->experts(), activations_);
  report_ = {by.scores(statistics), statistics.tokens, {}, 0};
  report_.kept = solvers::most_salient(report_.scores, run_.experts->experts() - run_.experts->stay());
  double all = 0, stays = 0;
  for (const double sum : statistics.weighted_norms) all += sum;
  for (const int64_t expert : report_.kept) stays += statistics.weighted_norms[size_t(expert)];
  report_.lost_share = all > 0 ? std::max(0.0, 1 - stays / all) : 0;
  run_.experts->keep(b, report_.kept);
  block.keep_experts(report_.kept);
  activations_.advance([&](model::Flow& flow) { block.route_again(flow); }, b);
  if (float_ != nullptr) float_->keep_experts(report_.kept);
}

void BlockExpertPruner::finish(int64_t b) {
  const Mixture& mixture = *run_.experts->source_model().mixture(b);
  const std::string router = mixture.router.name + ".weight";
  const std::vector<int64_t>& kept = run_.experts->kept(b);
  const bool fused = !mixture.experts.empty() && mixture.experts[0][0].stored.shared();
  if (!fused) write_experts(mixture, kept);
  for (const auto& [tensor, shape] : mixture.shared) {
    if (run_.writer.plans(tensor)) write_slices(tensor, kept);
  }
  if (!mixture.router_bias.empty()) write_slices(mixture.router_bias, kept);
  if (!is_written_elsewhere(router)) write_slices(router, kept);
  ModuleReport report;
  report.name = mixture.router.name;
  report.dense = true;
  report.fingerprint = fingerprint(run_.writer.read_back(router));
  std::string silent;
  for (size_t e = 0; e < report_.tokens.size(); ++e) {
    if (report_.tokens[e] == 0) silent += cat(silent.empty() ? "" : ", ", e);
  }
  if (!silent.empty())
    report.warnings.push_back(cat("no calibration token was routed to experts ", silent,
                                  ", which therefore go first; more text would show what they are for"));
  report.experts = report_;
  note_module(run_, std::move(report));
}

// Bytes of the source, each expert's at its new number; its values, where a view below changes them.
void BlockExpertPruner::write_experts(const Mixture& mixture, const std::vector<int64_t>& kept) {
  eval::for_each_parallel(int64_t(kept.size()), [&](int64_t i) {
    const std::vector<LinearSpec>&to = mixture.experts[size_t(i)], &from = mixture.experts[size_t(kept[size_t(i)])];
    for (size_t linear = 0; linear < to.size(); ++linear) {
      const std::string weight = to[linear].name + ".weight";
      if (run_.assignment.find(to[linear].name) != nullptr || is_written_elsewhere(weight)) continue;
      if (run_.rotated != nullptr)
        put_rewritten(run_, weight, run_.weights.load(weight));
      else
        run_.writer.put_bytes(weight, run_.reader.bytes(from[linear].name + ".weight"));
    }
  });
}

// Of a tensor whose first dimension counts experts.
void BlockExpertPruner::write_slices(const std::string& name, const std::vector<int64_t>& kept) {
  if (run_.rotated != nullptr) return put_rewritten(run_, name, run_.weights.load(name));
  const std::string_view bytes = run_.reader.bytes(name);
  const size_t slice = bytes.size() / size_t(run_.experts->experts());
  for (size_t i = 0; i < kept.size(); ++i)
    run_.writer.put_part(name, i * slice, bytes.substr(size_t(kept[i]) * slice, slice));
}

}  // namespace swage::pipeline
