#include "swage/pipeline/sequential.h"

#include <ATen/ops/index_select.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <optional>

#include "swage/base/error.h"
#include "swage/base/memory.h"
#include "swage/ops/gram.h"
#include "swage/ops/integer_linear.h"
#include "swage/eval/forward.h"
#include "swage/pipeline/activation_scales.h"
#include "swage/pipeline/activations.h"
#include "swage/pipeline/output.h"

namespace swage::pipeline {
namespace {

using model::Block, model::Flow, model::InputGroup, model::Linear;

constexpr size_t kQuantizedAtOnce = 16;  // sequences whose inputs are quantized before they enter the Gram matrix

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
    run_ends();
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
      for (const InputGroup& group : block->stages[s].groups) solve(pointers(*block, group), group.expert);
      if (last_block && s + 1 == block->stages.size() && !head_is_quantized()) break;  // nothing reads the last output
      if (s == 0 && run_.assignment.kv_cache) {
        step_and_measure_cache(*block);
      } else {
        forward([&](Flow& flow) { block->step(int(s), flow); });
      }
    }
    for (const std::string& name : run_.model.tensors_of_block(b)) run_.reader.drop(name);
    block.reset();
    release_free_memory();
  }

  // The embedding, and the head on what it reads after the last block.
  void run_ends() {
    std::vector<model::ModuleInfo> ends;
    for (const model::ModuleInfo& module : run_.model.modules()) {
      if (module.block < 0 && run_.assignment.find(module.name) != nullptr) ends.push_back(module);
    }
    if (ends.empty()) return;
    for (const model::ModuleInfo& module : ends) {
      if (module.class_name == "Embedding") {
        solve_end(module);
        continue;
      }
      run_.model.load_ends(run_.weights);
      activations_->make_room(module.columns);
      forward([&](Flow& flow) { flow.input_TI = run_.model.head_input(flow.hidden_TD); });
      run_.model.drop_ends();
      solve_end(module);
    }
  }

  void solve_end(const model::ModuleInfo& module) {
    Linear linear{.name = module.name, .rows = module.rows, .columns = module.columns};
    linear.weight_OI = run_.weights.load(module.name + ".weight");
    shared_ = {};
    lookup_ = module.class_name == "Embedding";
    solve({&linear}, -1);
    lookup_ = false;
  }

  bool head_is_quantized() const {
    const std::vector<model::ModuleInfo> modules = run_.model.modules();
    return std::any_of(modules.begin(), modules.end(), [&](const model::ModuleInfo& module) {
      return module.block < 0 && module.class_name == "Linear" && run_.assignment.find(module.name) != nullptr;
    });
  }

  static std::vector<Linear*> pointers(Block& block, const InputGroup& group) {
    std::vector<Linear*> out;
    for (const int index : group.linears) out.push_back(&block.linears[size_t(index)]);
    return out;
  }

  void forward(const std::function<void(Flow&)>& work) {
    const auto timed = run_.clock.time("forward");
    activations_->advance(work);
  }

  // Attention, whose keys and values are measured on the way.
  void step_and_measure_cache(Block& block) {
    std::vector<model::CacheRange> ranges(activations_->flows().size());
    const Flow* first = activations_->flows().data();
    forward([&](Flow& flow) {
      flow.cache_range = &ranges[size_t(&flow - first)];
      block.step(0, flow);
      flow.cache_range = nullptr;
    });
    model::CacheRange all = ranges[0];
    for (const model::CacheRange& range : ranges) {
      all.key_G = at::maximum(all.key_G, range.key_G);
      all.value_G = at::maximum(all.value_G, range.value_G);
    }
    const std::string& query = block.linears[0].name;
    put_cache(run_.writer, query.substr(0, query.rfind('.')), *run_.assignment.kv_cache, all, stored_type(block.linears[0].name));
  }

  at::ScalarType stored_type(const std::string& module) const { return checkpoint::scalar_type_of(stored_dtype(run_.reader, module)); }

  // Quantizes those of the linears, which all read the same input, that have a scheme, and puts their quantized values in
  // their place.
  void solve(const std::vector<Linear*>& group, int expert) {
    std::vector<modifiers::LinearTask> tasks;
    std::vector<Linear*> linears;
    for (Linear* linear : group) {
      const scheme::Scheme* scheme = run_.assignment.find(linear->name);
      if (scheme == nullptr) continue;
      tasks.push_back({linear->name, linear->weight_OI, stored_type(linear->name), scheme});
      linears.push_back(linear);
    }
    if (tasks.empty()) return;
    const std::optional<model::ActivationQuantization> input = measure_input(tasks[0], expert);
    std::string warning;
    const modifiers::Statistics statistics = lookup_ ? modifiers::Statistics() : measure(linears[0]->columns, expert, input, warning);
    std::vector<modifiers::SolvedLinear> solved;
    {
      const auto timed = run_.clock.time("solve");
      solved = run_.modifier.quantize(tasks, statistics);
    }
    const auto timed = run_.clock.time("pack and write");
    for (size_t i = 0; i < linears.size(); ++i) {
      if (!warning.empty()) solved[i].warnings.push_back(warning);
      put_into(*linears[i], solved[i].weight);
      linears[i]->input_quantization = input;
      if (input) put_input(run_.writer, linears[i]->name, *input, tasks[i].stored_dtype);
      finish_module(run_, linears[i]->name, solved[i], statistics.tokens);
    }
  }

  // How the task's scheme quantizes its input, with the scale that the calibration set gives.
  std::optional<model::ActivationQuantization> measure_input(const modifiers::LinearTask& task, int expert) {
    if (!task.scheme->input_activations) return {};
    const auto timed = run_.clock.time("input scales");
    const scheme::QuantizationArgs& args = *task.scheme->input_activations;
    const Range range = needs_range(args) ? input_range(activations_->flows(), options_.moe_routed ? expert : -1) : Range();
    return input_quantization(args, range, task.stored_dtype);
  }

  // The Gram matrix of the group's input as its linears will see it: quantized where their scheme says so. An expert's own
  // tokens count if asked for and if there are enough of them to span its input; otherwise those of all experts do.
  modifiers::Statistics measure(int64_t columns, int expert, const std::optional<model::ActivationQuantization>& input, std::string& warning) {
    const auto timed = run_.clock.time("gram");
    if (!run_.modifier.needs_calibration()) return {};
    if (expert >= 0 && options_.moe_routed) {
      modifiers::Statistics routed = gram(columns, expert, input);
      if (routed.tokens >= columns) return routed;
      warning = cat("expert ", expert, " saw ", routed.tokens, " tokens, fewer than its ", columns,
                    " inputs: solved with the statistics of all tokens");
    }
    if (!shared_.gram_II.defined()) shared_ = gram(columns, -1, input);
    return shared_;
  }

  modifiers::Statistics gram(int64_t columns, int expert, const std::optional<model::ActivationQuantization>& input) {
    modifiers::Statistics out;
    const std::vector<Flow>& flows = activations_->flows();
    out.gram_II = at::zeros({columns, columns}, flows[0].input_TI.options().dtype(at::kDouble));
    const size_t at_once = input ? kQuantizedAtOnce : flows.size();  // quantized inputs are copies
    for (size_t first = 0; first < flows.size(); first += at_once) {
      std::vector<at::Tensor> inputs(std::min(at_once, flows.size() - first));
      eval::for_each_parallel(int64_t(inputs.size()), [&](int64_t i) {
        const Flow& flow = flows[first + size_t(i)];
        at::Tensor& x_TI = inputs[size_t(i)];
        x_TI = expert < 0 ? flow.input_TI : flow.input_TI.index_select(0, flow.routed_rows_of(expert));
        if (input) x_TI = model::fake_quantize(x_TI, *input);
      });
      for (const at::Tensor& x_TI : inputs) out.tokens += x_TI.size(0);
      ops::gram_add(inputs, out.gram_II, &gram_scratch_);
    }
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
  bool lookup_ = false;           // an embedding is solved: its input has no statistics
};

}  // namespace

void run_sequential(const Run& run, const at::Tensor& ids_NL, const SequentialOptions& options) {
  Sequential(run, ids_NL, options).run();
}

}  // namespace swage::pipeline
