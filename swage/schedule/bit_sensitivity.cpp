#include "swage/schedule/bit_sensitivity.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/sum.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "swage/base/error.h"
#include "swage/base/memory.h"
#include "swage/eval/compare.h"
#include "swage/eval/forward.h"
#include "swage/format/quantized_weight.h"
#include "swage/modifiers/solver_glue.h"
#include "swage/resolve/output.h"
#include "swage/schedule/activations.h"
#include "swage/schedule/run.h"
#include "swage/schedule/stage_inputs.h"

namespace swage::pipeline {
namespace {

using model::Block, model::Flow, model::Linear;

constexpr int64_t kErrorTokens = 16384;

// Residual streams [T, D] of the probes' sequences.
using Streams = std::vector<at::Tensor>;

class SensitivityPass {
 public:
  SensitivityPass(const SensitivityJob& job, size_t probed)
      : job_(job),
        budget_(*job.assignment.budget),
        probed_(probed),
        errors_(job.units.size(), std::vector<double>(budget_.count)),
        streams_(job.units.size()) {
    for (size_t u = 0; u < job.units.size(); ++u) {
      for (const std::string& module : job.units[u].modules) unit_of_[module] = u;
    }
  }

  void run(const at::Tensor& ids_NL) {
    job_.model.load_ends(job_.weights);
    Activations activations(job_.model, ids_NL, job_.tiers, job_.context.trace);
    for (const Flow& flow : eval::embed_rows(job_.model, probe_ids(ids_NL))) base_.push_back(flow.hidden_TD);
    job_.model.drop_ends();
    const int64_t blocks = job_.model.blocks(), measured = take_up();
    for (int64_t b = measured == blocks ? blocks : 0; b < blocks; ++b) {
      job_.context.check_cancelled();
      if (b + 1 < blocks) job_.weights.prefetch(job_.model.tensors_of_block(b + 1));
      std::unique_ptr<Block> block = job_.model.load_block(b, job_.weights);
      if (b < measured) {
        pass_through(*block, activations);
      } else {
        measure_block(*block, activations, b + 1 == blocks);
        probe_block(*block, b);
        keep(b + 1);
      }
      drop_block(job_.reader, job_.model, b);
      block.reset();
      release_free_memory();
      tell(b + 1, blocks);
    }
  }

  // For each unit and candidate, a token.
  const std::vector<std::vector<double>>& errors() const { return errors_; }
  // For each unit, nats a token.
  std::vector<double> divergences() {
    const auto timed = job_.clock.time("measure divergences");
    job_.model.load_ends(job_.weights);
    const int64_t tokens = base_[0].size(0), pieces = (tokens + eval::kRowsCompared - 1) / eval::kRowsCompared;
    std::vector<std::vector<double>> sums(base_.size() * size_t(pieces));
    eval::for_each_parallel(int64_t(sums.size()), [&](int64_t i) {
      const int64_t first = i % pieces * eval::kRowsCompared;
      sums[size_t(i)] = compare(size_t(i / pieces), first, std::min(eval::kRowsCompared, tokens - first));
    });
    job_.model.drop_ends();
    std::vector<double> out(job_.units.size());
    for (const std::vector<double>& piece : sums) {
      for (size_t u = 0; u < out.size(); ++u) out[u] += piece[u] / double(tokens * int64_t(base_.size()));
    }
    return out;
  }

 private:
  // Takes up what an earlier process measured: the number of blocks.
  int64_t take_up() {
    std::optional<MeasuredBlocks> kept = job_.store != nullptr ? job_.store->load() : std::nullopt;
    if (!kept || kept->errors.size() != errors_.size() || kept->blocks > job_.model.blocks()) return 0;
    job_.context.log(Severity::Info, cat("measuring goes on after layer ", kept->blocks, " of ", job_.model.blocks(),
                                         ", which an interrupted run had reached"));
    errors_ = std::move(kept->errors);
    base_ = on_device(kept->base);
    for (size_t u = 0; u < streams_.size(); ++u) streams_[u] = on_device(kept->probes[u]);
    return kept->blocks;
  }

  // On the device that the streams of this run are on.
  Streams on_device(const Streams& streams) const {
    Streams out;
    for (const at::Tensor& stream_TD : streams) out.push_back(stream_TD.to(base_[0].device()));
    return out;
  }

  void keep(int64_t blocks) const {
    if (job_.store != nullptr) job_.store->save({blocks, errors_, base_, streams_});
  }

  static void pass_through(Block& block, Activations& activations) {
    for (const Linear& linear : block.linears) activations.make_room(linear.columns);
    activations.advance([&](Flow& flow) { block.begin(flow); });
    for (size_t s = 0; s < block.stages.size(); ++s) activations.advance([&](Flow& flow) { block.step(int(s), flow); });
  }

  static at::Tensor probe_ids(const at::Tensor& ids_NL) {
    return ids_NL.narrow(0, 0, std::min(kProbeRows, ids_NL.size(0)))
        .narrow(1, 0, std::min(kProbeTokens, ids_NL.size(1)));
  }

  void measure_block(Block& block, Activations& activations, bool last) {
    const auto timed = job_.clock.time("measure errors");
    probe_weights_.clear();
    for (const Linear& linear : block.linears) activations.make_room(linear.columns);
    activations.advance([&](Flow& flow) { block.begin(flow); });
    for (size_t s = 0; s < block.stages.size(); ++s) {
      modifiers::Statistics shared;
      for (const model::InputGroup& group : block.stages[s].groups) measure_group(block, group, activations, shared);
      if (last && s + 1 == block.stages.size()) break;  // nothing reads it
      activations.advance([&](Flow& flow) { block.step(int(s), flow); });
    }
  }

  void measure_group(Block& block, const model::InputGroup& group, const Activations& activations,
                     modifiers::Statistics& shared) {
    std::vector<int> linears;
    for (const int index : group.linears) {
      if (unit_of_.contains(block.linears[size_t(index)].name)) linears.push_back(index);
    }
    if (linears.empty()) return;
    const int64_t columns = block.linears[size_t(linears[0])].columns;
    const LinearInput input{block.linears[size_t(linears[0])].input_transform};
    for (const int index : linears) {
      const Linear& linear = block.linears[size_t(index)];
      SWAGE_CHECK(linear.input_transform == input.transform, Unsupported, linear.name,
                  ": a bit budget needs linears that read one input to be rotated alike");
    }
    modifiers::Statistics routed;
    if (job_.moe_routed && group.expert >= 0)
      routed = input_statistics(activations, columns, group.expert, input, scratch_);
    const bool own = routed.gram_II.defined() && routed.tokens >= columns;
    if (!own && (!shared.gram_II.defined() || shared_with_ != input.transform))
      shared = input_statistics(activations, columns, -1, input, scratch_);
    if (!own) shared_with_ = input.transform;
    measure_linears(block, linears, own ? routed : shared);
  }

  void measure_linears(Block& block, const std::vector<int>& linears, const modifiers::Statistics& statistics) {
    std::vector<modifiers::LinearTask> tasks;  // of each linear, one for each candidate
    for (const int index : linears) {
      const Linear& linear = block.linears[size_t(index)];
      const at::ScalarType dtype = checkpoint::scalar_type_of(stored_dtype(job_.reader, linear.name));
      for (size_t c = 0; c < budget_.count; ++c) {
        tasks.push_back({linear.name, linear.weight_OI, dtype, &job_.assignment.schemes[budget_.first + c]});
        tasks.back().measure_error = false;
      }
    }
    const std::vector<modifiers::SolvedLinear> solved = budget_.quantizer->quantize(tasks, statistics);
    const at::Tensor gram_II = statistics.gram_II.to(at::kCPU, at::kFloat);
    std::vector<double> errors(tasks.size());
    std::vector<at::Tensor> probes(linears.size());
    eval::for_each_parallel(int64_t(tasks.size()), [&](int64_t i) {
      const modifiers::LinearTask& task = tasks[size_t(i)];
      const at::Tensor q_OI = format::dequantize(solved[size_t(i)].weight);
      errors[size_t(i)] = modifiers::quadratic_form(task.weight_OI.to(at::kCPU).sub(q_OI), gram_II);
      if (size_t(i) % budget_.count == probed_) probes[size_t(i) / budget_.count] = q_OI.to(task.weight_OI.device());
    });
    for (size_t l = 0; l < linears.size(); ++l) {
      std::vector<double>& unit = errors_[unit_of_.at(block.linears[size_t(linears[l])].name)];
      for (size_t c = 0; c < budget_.count; ++c)
        unit[c] += std::max(errors[l * budget_.count + c], 0.0) / double(std::max<int64_t>(statistics.tokens, 1));
      probe_weights_.emplace(linears[l], std::move(probes[l]));
    }
  }

  // Starts a probe for each unit of the block and takes the earlier ones through it.
  void probe_block(Block& block, int64_t b) {
    const auto timed = job_.clock.time("measure divergences");
    for (size_t u = 0; u < job_.units.size(); ++u) {
      if (job_.units[u].block > b) continue;
      if (job_.units[u].block < b) {
        forward(block, streams_[u]);
        continue;
      }
      std::vector<std::pair<int, at::Tensor>> kept;
      for (const auto& [index, weight_OI] : probe_weights_) {
        Linear& linear = block.linears[size_t(index)];
        if (unit_of_.at(linear.name) == u) kept.emplace_back(index, std::exchange(linear.weight_OI, weight_OI));
      }
      for (const at::Tensor& stream_TD : base_) streams_[u].push_back(stream_TD.clone());
      forward(block, streams_[u]);
      for (const auto& [index, weight_OI] : kept) block.linears[size_t(index)].weight_OI = weight_OI;
    }
    forward(block, base_);
    probe_weights_.clear();
  }

  static void forward(const Block& block, Streams& streams) {
    eval::for_each_parallel(int64_t(streams.size()), [&](int64_t i) {
      Flow flow;
      flow.hidden_TD = streams[size_t(i)];
      block.forward(flow);
      streams[size_t(i)] = flow.hidden_TD;
    });
  }

  // For each unit the sum over `count` tokens of one sequence.
  std::vector<double> compare(size_t sequence, int64_t first, int64_t count) const {
    const auto rows = [&](const at::Tensor& stream_TD) { return stream_TD.narrow(0, first, count); };
    const at::Tensor p_TV = at::log_softmax(job_.model.logits(rows(base_[sequence])), -1), weight_TV = p_TV.exp();
    std::vector<double> out;
    for (const Streams& streams : streams_) {
      const at::Tensor q_TV = at::log_softmax(job_.model.logits(rows(streams[sequence])), -1);
      out.push_back(q_TV.neg_().add_(p_TV).mul_(weight_TV).sum(at::kDouble).item<double>());
    }
    return out;
  }

  void tell(int64_t done, int64_t blocks) const {
    ProgressEvent event;
    event.stage = "measuring";
    event.layer = done - 1;
    event.layers = blocks;
    event.elapsed_seconds = job_.clock.total_seconds();
    event.rss_bytes = current_rss_bytes();
    job_.context.progress(event);
  }

  const SensitivityJob& job_;
  const BitBudget& budget_;
  const size_t probed_;
  std::map<std::string, size_t> unit_of_;
  std::vector<std::vector<double>> errors_;
  std::map<int, at::Tensor> probe_weights_;            // of the current block's linears
  Streams base_;                                       // of the float model
  std::vector<Streams> streams_;                       // by unit
  std::shared_ptr<const ops::Transform> shared_with_;  // what the inputs of the stage's statistics were multiplied with
  at::Tensor scratch_;
};

}  // namespace

int64_t rows_measured(int64_t rows, int64_t row_tokens) {
  return std::clamp<int64_t>(kErrorTokens / std::max<int64_t>(row_tokens, 1), 1, rows);
}

BudgetCosts measure_costs(const SensitivityJob& job, const at::Tensor& ids_NL, size_t probed) {
  SensitivityPass pass(job, probed);
  pass.run(ids_NL.narrow(0, 0, rows_measured(ids_NL.size(0), ids_NL.size(1))));
  BudgetCosts out;
  const std::vector<double> divergences = pass.divergences();
  for (size_t u = 0; u < job.units.size(); ++u) {
    const std::vector<double>& errors = pass.errors()[u];
    auto& costs = out.emplace_back();
    SWAGE_CHECK(std::isfinite(divergences[u]), Numerical, job.units[u].name,
                ": the model's predictions are not finite with it quantized");
    for (const double error : errors)
      costs.push_back(errors[probed] > 0 ? std::max(divergences[u], 0.0) * error / errors[probed] : 0);
  }
  return out;
}

}  // namespace swage::pipeline
