#include "swage/schedule/bit_probes.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/sum.h>

#include <algorithm>
#include <utility>

#include "swage/base/error.h"
#include "swage/eval/compare.h"
#include "swage/eval/forward.h"
#include "swage/format/quantized_weight.h"
#include "swage/modifiers/solver_glue.h"
#include "swage/resolve/output.h"
#include "swage/schedule/stage_inputs.h"

namespace swage::pipeline {
namespace {

using model::Block, model::Flow, model::Linear;

at::Tensor probe_ids(const at::Tensor& ids_NL) {
  return ids_NL.narrow(0, 0, std::min(kProbeRows, ids_NL.size(0))).narrow(1, 0, std::min(kProbeTokens, ids_NL.size(1)));
}

void forward_streams(const Block& block, std::vector<at::Tensor>& streams) {
  eval::for_each_parallel(int64_t(streams.size()), [&](int64_t i) {
    Flow flow;
    flow.hidden_TD = streams[size_t(i)];
    block.forward(flow);
    streams[size_t(i)] = flow.hidden_TD;
  });
}

}  // namespace

BitProbes::BitProbes(const FloatPassJob& job, const Assignment& assignment, const std::vector<BudgetUnit>& units,
                     size_t probed)
    : job_(job),
      assignment_(assignment),
      units_(units),
      probed_(probed),
      errors_(units.size(), std::vector<double>(assignment.budget->count)),
      streams_(units.size()) {
  for (size_t u = 0; u < units.size(); ++u) {
    for (const std::string& module : units[u].modules) unit_of_[module] = u;
  }
}

void BitProbes::embed(const at::Tensor& ids_NL) {
  for (const Flow& flow : eval::embed_rows(job_.model, probe_ids(ids_NL))) base_.push_back(flow.hidden_TD);
}

int64_t BitProbes::take_up(std::optional<MeasuredBlocks> kept) {
  if (!kept || kept->errors.size() != errors_.size() || kept->blocks > job_.model.blocks()) return 0;
  job_.context.log(Severity::Info, cat("measuring goes on after layer ", kept->blocks, " of ", job_.model.blocks(),
                                       ", which an interrupted run had reached"));
  errors_ = std::move(kept->errors);
  base_ = on_device(kept->base);
  for (size_t u = 0; u < streams_.size(); ++u) streams_[u] = on_device(kept->probes[u]);
  return kept->blocks;
}

// On the device that the streams of this run are on.
BitProbes::Streams BitProbes::on_device(const Streams& streams) const {
  Streams out;
  for (const at::Tensor& stream_TD : streams) out.push_back(stream_TD.to(base_[0].device()));
  return out;
}

void BitProbes::measure(const Block& block, const model::InputGroup& group, const Activations& activations) {
  std::vector<int> linears;
  for (const int index : group.linears) {
    if (unit_of_.contains(block.linears[size_t(index)].name)) linears.push_back(index);
  }
  const Linear& first = block.linears[size_t(linears.at(0))];
  for (const int index : linears) {
    const Linear& linear = block.linears[size_t(index)];
    SWAGE_CHECK(linear.input_transform == first.input_transform, Unsupported, linear.name,
                ": a bit budget needs linears that read one input to be rotated alike");
  }
  measure_linears(block, linears, statistics(activations, group, first));
  measured_.routed = {};
}

const modifiers::Statistics& BitProbes::statistics(const Activations& activations, const model::InputGroup& group,
                                                   const Linear& first) {
  const LinearInput input{first.input_transform};
  if (job_.planned.moe_routed && group.expert >= 0) {
    measured_.routed = input_statistics(activations, first.columns, group.expert, input, measured_.scratch);
    if (measured_.routed.tokens >= first.columns) return measured_.routed;
    measured_.routed = {};
  }
  if (!measured_.shared.gram_II.defined() || measured_.shared_with != input.transform)
    measured_.shared = input_statistics(activations, first.columns, -1, input, measured_.scratch);
  measured_.shared_with = input.transform;
  return measured_.shared;
}

void BitProbes::measure_linears(const Block& block, const std::vector<int>& linears,
                                const modifiers::Statistics& statistics) {
  std::vector<modifiers::LinearTask> tasks;  // of each linear, one for each candidate
  for (const int index : linears) {
    const Linear& linear = block.linears[size_t(index)];
    const at::ScalarType dtype = checkpoint::scalar_type_of(stored_dtype(job_.reader, linear.stored_in));
    for (size_t c = 0; c < budget().count; ++c) {
      tasks.push_back({linear.name, linear.weight_OI, dtype, &assignment_.schemes[budget().first + c]});
      tasks.back().measure_error = false;
    }
  }
  const std::vector<modifiers::SolvedLinear> solved = budget().quantizer->quantize(tasks, statistics);
  const at::Tensor gram_II = statistics.gram_II.to(at::kCPU, at::kFloat);
  std::vector<double> errors(tasks.size());
  std::vector<at::Tensor> probes(linears.size());
  eval::for_each_parallel(int64_t(tasks.size()), [&](int64_t i) {
    const modifiers::LinearTask& task = tasks[size_t(i)];
    const at::Tensor q_OI = format::dequantize(solved[size_t(i)].weight);
    errors[size_t(i)] = modifiers::quadratic_form(task.weight_OI.to(at::kCPU).sub(q_OI), gram_II);
    if (size_t(i) % budget().count == probed_) probes[size_t(i) / budget().count] = q_OI.to(task.weight_OI.device());
  });
  for (size_t l = 0; l < linears.size(); ++l) {
    std::vector<double>& unit = errors_[unit_of_.at(block.linears[size_t(linears[l])].name)];
    for (size_t c = 0; c < budget().count; ++c)
      unit[c] += std::max(errors[l * budget().count + c], 0.0) / double(std::max<int64_t>(statistics.tokens, 1));
    probe_weights_.emplace(linears[l], std::move(probes[l]));
  }
}

void BitProbes::probe(Block& block, int64_t b) {
  for (size_t u = 0; u < units_.size(); ++u) {
    if (units_[u].block > b) continue;
    job_.context.check_cancelled();  // deep in the model there are hundreds of units before it
    if (units_[u].block < b) {
      forward_streams(block, streams_[u]);
      continue;
    }
    std::vector<std::pair<int, at::Tensor>> kept;
    for (const auto& [index, weight_OI] : probe_weights_) {
      Linear& linear = block.linears[size_t(index)];
      if (unit_of_.at(linear.name) == u) kept.emplace_back(index, std::exchange(linear.weight_OI, weight_OI));
    }
    for (const at::Tensor& stream_TD : base_) streams_[u].push_back(stream_TD.clone());
    forward_streams(block, streams_[u]);
    for (const auto& [index, weight_OI] : kept) block.linears[size_t(index)].weight_OI = weight_OI;
  }
  forward_streams(block, base_);
  probe_weights_.clear();
}

void BitProbes::predict() {
  measured_.shared = {};
  measured_.scratch = at::Tensor();
  job_.model.load_ends(job_.weights);
  const int64_t tokens = base_[0].size(0), pieces = (tokens + eval::kRowsCompared - 1) / eval::kRowsCompared;
  std::vector<std::vector<double>> sums(base_.size() * size_t(pieces));
  eval::for_each_parallel(int64_t(sums.size()), [&](int64_t i) {
    const int64_t first = i % pieces * eval::kRowsCompared;
    sums[size_t(i)] = compare(size_t(i / pieces), first, std::min(eval::kRowsCompared, tokens - first));
  });
  job_.model.drop_ends();
  divergences_.assign(units_.size(), 0);
  for (const std::vector<double>& piece : sums) {
    for (size_t u = 0; u < units_.size(); ++u) divergences_[u] += piece[u] / double(tokens * int64_t(base_.size()));
  }
}

// For each unit the sum over `count` tokens of one sequence.
std::vector<double> BitProbes::compare(size_t sequence, int64_t first, int64_t count) const {
  const auto rows = [&](const at::Tensor& stream_TD) { return stream_TD.narrow(0, first, count); };
  const at::Tensor p_TV = at::log_softmax(job_.model.logits(rows(base_[sequence])), -1), weight_TV = p_TV.exp();
  std::vector<double> out;
  for (const Streams& streams : streams_) {
    const at::Tensor q_TV = at::log_softmax(job_.model.logits(rows(streams[sequence])), -1);
    out.push_back(q_TV.neg_().add_(p_TV).mul_(weight_TV).sum(at::kDouble).item<double>());
  }
  return out;
}

}  // namespace swage::pipeline
