#include "swage/pipeline/sequential.h"

#include <ATen/ops/index_select.h>
#include <ATen/ops/zeros.h>

#include <optional>

#include "swage/base/error.h"
#include "swage/base/memory.h"
#include "swage/ops/gram.h"
#include "swage/ops/integer_linear.h"
#include "swage/pipeline/activations.h"
#include "swage/pipeline/output.h"

namespace swage::pipeline {
namespace {

using model::Block, model::Flow, model::InputGroup, model::Linear;

// The rest of the run computes with the quantized weight: with its integer codes where it has such, else with their values.
void put_into(Linear& linear, const format::QuantizedWeight& weight) {
  const at::Device device = linear.weight_OI.device();
  linear.integer_weight.reset();
  linear.weight_OI = at::Tensor();
  const bool grouped_in_order = !weight.g_idx_I.defined() && weight.scale_OG.dim() == 2;
  if (device.is_cpu() && grouped_in_order) linear.integer_weight = ops::IntegerLinear::make(weight.codes_OI, weight.scale_OG, weight.zero_point_OG);
  if (!linear.integer_weight) linear.weight_OI = format::dequantize(weight).to(device);
}

class Sequential {
 public:
  Sequential(const Run& run, const at::Tensor& ids_NL, const SequentialOptions& options)
      : run_(run), options_(options), tokens_(ids_NL.numel()), ids_NL_(ids_NL) {}

  void run() {
    embed();
    const int64_t blocks = run_.model.blocks();
    for (int64_t b = 0; b < blocks; ++b) {
      try {
        run_block(b, b + 1 == blocks);
      } catch (Error& e) {
        e.add_context(cat("layer ", b));
        throw;
      }
      tell_progress(run_, "calibrating", b, double(b + 1), double(blocks), tokens_ * (b + 1));
    }
  }

 private:
  void embed() {
    const auto timed = run_.clock.time("embed");
    run_.model.load_ends(run_.weights);
    activations_.emplace(run_.model, ids_NL_);
    run_.model.drop_ends();
    release_free_memory();
  }

  void run_block(int64_t b, bool last_block) {
    run_.context.check_cancelled();
    std::unique_ptr<Block> block;
    {
      const auto timed = run_.clock.time("read weights");
      if (b + 1 < run_.model.blocks()) run_.weights.prefetch(run_.model.tensors_of_block(b + 1));
      block = run_.model.load_block(b, run_.weights);
    }
    for (const Linear& linear : block->linears) activations_->make_room(linear.columns);
    forward([&](Flow& flow) { block->begin(flow); });
    for (size_t s = 0; s < block->stages.size(); ++s) {
      run_.context.check_cancelled();
      shared_ = {};
      for (const InputGroup& group : block->stages[s].groups) solve(*block, group);
      if (last_block && s + 1 == block->stages.size()) break;  // nothing reads the last output
      forward([&](Flow& flow) { block->step(int(s), flow); });
    }
    for (const std::string& name : run_.model.tensors_of_block(b)) run_.reader.drop(name);
    block.reset();
    release_free_memory();
  }

  void forward(const std::function<void(Flow&)>& work) {
    const auto timed = run_.clock.time("forward");
    activations_->advance(work);
  }

  // Quantizes the linears of one group that have a scheme, and puts their quantized values into the block.
  void solve(Block& block, const InputGroup& group) {
    std::vector<modifiers::LinearTask> tasks;
    std::vector<Linear*> linears;
    for (const int index : group.linears) {
      Linear& linear = block.linears[size_t(index)];
      const scheme::Scheme* scheme = run_.assignment.find(linear.name);
      if (scheme == nullptr) continue;
      const at::ScalarType stored = checkpoint::scalar_type_of(stored_dtype(run_.reader, linear.name));
      tasks.push_back({linear.name, linear.weight_OI, stored, scheme});
      linears.push_back(&linear);
    }
    if (tasks.empty()) return;
    std::string warning;
    const modifiers::Statistics statistics = measure(group, *linears[0], warning);
    std::vector<modifiers::SolvedLinear> solved;
    {
      const auto timed = run_.clock.time("solve");
      solved = run_.modifier.quantize(tasks, statistics);
    }
    const auto timed = run_.clock.time("pack and write");
    for (size_t i = 0; i < linears.size(); ++i) {
      if (!warning.empty()) solved[i].warnings.push_back(warning);
      put_into(*linears[i], solved[i].weight);
      finish_module(run_, linears[i]->name, solved[i], statistics.tokens);
    }
  }

  // The Gram matrix of the group's input. An expert's own tokens count if asked for and if there are enough of them to
  // span its input; otherwise those of all experts do.
  modifiers::Statistics measure(const InputGroup& group, const Linear& linear, std::string& warning) {
    const auto timed = run_.clock.time("gram");
    if (!run_.modifier.needs_calibration()) return {};
    if (group.expert >= 0 && options_.moe_routed) {
      modifiers::Statistics routed = gram(linear.columns, group.expert);
      if (routed.tokens >= linear.columns) return routed;
      warning = cat("expert ", group.expert, " saw ", routed.tokens, " tokens, fewer than its ", linear.columns,
                    " inputs: solved with the statistics of all tokens");
    }
    if (!shared_.gram_II.defined()) shared_ = gram(linear.columns, -1);
    return shared_;
  }

  modifiers::Statistics gram(int64_t columns, int expert) {
    modifiers::Statistics out;
    const std::vector<Flow>& flows = activations_->flows();
    out.gram_II = at::zeros({columns, columns}, flows[0].input_TI.options().dtype(at::kDouble));
    std::vector<at::Tensor> inputs;
    for (const Flow& flow : flows) {
      inputs.push_back(expert < 0 ? flow.input_TI : flow.input_TI.index_select(0, flow.routed_rows_of(expert)));
      out.tokens += inputs.back().size(0);
    }
    ops::gram_add(inputs, out.gram_II, &gram_scratch_);
    ops::gram_finish(out.gram_II);
    return out;
  }

  const Run& run_;
  const SequentialOptions options_;
  const int64_t tokens_;
  const at::Tensor ids_NL_;
  std::optional<Activations> activations_;
  at::Tensor gram_scratch_;
  modifiers::Statistics shared_;  // of all tokens, for every group of the current stage
};

}  // namespace

void run_sequential(const Run& run, const at::Tensor& ids_NL, const SequentialOptions& options) {
  Sequential(run, ids_NL, options).run();
}

}  // namespace swage::pipeline
