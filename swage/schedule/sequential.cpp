#include "swage/schedule/sequential.h"

#include <algorithm>
#include <optional>

#include "swage/base/error.h"
#include "swage/base/memory.h"
#include "swage/resolve/activation_scales.h"
#include "swage/schedule/activations.h"
#include "swage/schedule/block_expert_pruner.h"
#include "swage/schedule/block_rescaler.h"
#include "swage/schedule/float_stream.h"
#include "swage/schedule/group_solver.h"
#include "swage/schedule/stage_inputs.h"

namespace swage::pipeline {
namespace {

using model::Block, model::Flow, model::Linear;

class Sequential {
 public:
  Sequential(const Run& run, const at::Tensor& ids_NL, const SequentialOptions& options)
      : run_(run),
        options_(options),
        pass_{.stage = {}, .planned = "calibrate", .tokens = ids_NL.numel()},
        ids_NL_(ids_NL) {}

  void run() {
    if (all_finished()) return;
    embed();
    const int64_t blocks = run_.model.blocks();
    const int64_t first = load_activations();
    for (int64_t b = 0; float_ && b < first; ++b) float_->pass_block(run_.model, b, run_.weights);
    pass_.began_seconds = run_.clock.total_seconds();
    for (int64_t b = first; b < blocks; ++b) {
      const bool finished = run_.steps.finished(block_step(b));
      pass_.stage = finished ? "resuming" : "calibrating";
      first_module_ = run_.modules.size();
      if (finished) pass_.first = double(b + 1);  // such layers take a share of the time of the others
      try {
        run_block(b, b + 1 == blocks, finished);
      } catch (Error& e) {
        e.add_context(cat("layer ", b));
        throw;
      }
      if (finished) pass_.began_seconds = run_.clock.total_seconds();
      tell_progress(run_, pass_, b, double(b + 1), first_module_, true);
    }
    run_ends();
  }

 private:
  void embed() {
    const auto timed = run_.clock.time("embed");
    run_.model.load_ends(run_.weights);
    activations_.emplace(run_.model, ids_NL_, options_.tiers, run_.context.trace);
    const std::vector<const modifiers::Quantizer*>& quantizers = run_.assignment.quantizers;
    const auto looks_back = [](const modifiers::Quantizer* quantizer) {
      return quantizer->target() != modifiers::Target::Weights;
    };
    if (std::any_of(quantizers.begin(), quantizers.end(), looks_back))
      float_.emplace(run_.model, ids_NL_, options_.tiers);
    inputs_.emplace(run_, *activations_, float_ ? &*float_ : nullptr, options_.moe_routed);
    solver_.emplace(run_, *inputs_);
    if (run_.experts != nullptr) {
      experts_.emplace(run_, *activations_, float_ ? &*float_ : nullptr);
      experts_->restore();
    }
    run_.model.drop_ends();
    release_free_memory();
  }

  bool all_finished() const {
    bool all = true;
    for (int64_t b = 0; b < run_.model.blocks(); ++b) all = all && run_.steps.finished(block_step(b));
    for (const model::ModuleInfo& module : quantized_ends()) all = all && run_.steps.finished(module.name);
    return all;
  }

  // `finished`: by an earlier run. Then only the activations are taken through it, with the weights that were written.
  void run_block(int64_t b, bool last_block, bool finished) {
    run_.context.check_cancelled();
    run_.clock.enter_block(b);
    const TraceSpan span(run_.context.trace, finished ? "layer, gone through again" : "layer", Trace::Kind::Other, b);
    std::unique_ptr<Block> block;
    {
      const auto timed = run_.clock.time("read weights");
      if (b + 1 < run_.model.blocks()) weights_of(b + 1).prefetch(model_of(b + 1).tensors_of_block(b + 1));
      block = model_of(b).load_block(b, weights_of(b));
    }
    if (finished) restore(*block);
    for (const Linear& linear : block->linears) activations_->make_room(linear.columns);
    tell_progress(run_, pass_, b, double(b), first_module_,
                  false);  // the passes before the first solution can take minutes
    forward([&](Flow& flow) { block->begin(flow); });
    if (float_) step_float([&] { float_->begin_block(model_of(b), b, weights_of(b)); });
    const bool prunes = !finished && run_.experts != nullptr && run_.model.mixture(b) != nullptr;
    for (size_t s = 0; s < block->stages.size(); ++s) {
      run_.context.check_cancelled();
      if (prunes && block->stages[s].routes) experts_->prune(*block, b);
      inputs_->begin(&block->stages[s]);
      if (!finished) solve_stage(*block, b, s);
      if (last_block && s + 1 == block->stages.size() && !head_is_quantized()) break;  // nothing reads the last output
      if (block->stages[s].attends && run_.assignment.kv_cache && !finished) {
        step_and_measure_heads(*block, b, int(s));
      } else {
        forward([&](Flow& flow) { block->step(int(s), flow); });
      }
      if (float_) step_float([&] { float_->step(int(s)); });
    }
    if (float_) float_->end_block();
    if (!finished) solver_->finish(*block);
    if (prunes) experts_->finish(b);
    drop_block(run_.reader, run_.experts != nullptr ? run_.experts->source_model() : run_.model, b);
    block.reset();
    release_free_memory();
    if (finished) return;
    if (rescales() && run_.steps.keeps()) save_activations(b);
    finish_step(block_step(b));
    run_.memory.check();
  }

  // What block b is loaded from: if experts go, all of them until it is known which.
  const model::Model& model_of(int64_t b) const { return experts_ ? experts_->model_of(b) : run_.model; }
  const checkpoint::WeightSource& weights_of(int64_t b) const {
    return experts_ ? experts_->weights_of(b) : run_.weights;
  }

  bool rescales() const { return !run_.rescalings.of_block.empty(); }

  // Weights that were rescaled after their block had used them do not give its output back bit for bit, so that is
  // saved itself. Two files in turn: one stays whole while the other is written.
  std::filesystem::path saved_activations(int64_t b) const { return run_.writer.work() / cat("activations-", b % 2); }

  void save_activations(int64_t b) {
    const auto timed = run_.clock.time("save activations");
    activations_->save(saved_activations(b), b);
  }

  // The first block to be run: 0, or the one after those whose output was saved.
  int64_t load_activations() {
    int64_t finished = 0;
    while (rescales() && finished < run_.model.blocks() && run_.steps.finished(block_step(finished))) ++finished;
    if (finished > 0) activations_->load(saved_activations(finished - 1), finished - 1);
    return finished;
  }

  void finish_step(const std::string& step) {
    const auto timed = run_.clock.time("journal");
    run_.steps.finish(step);
  }

  void solve_stage(Block& block, int64_t b, size_t s) {
    const model::Stage& stage = block.stages[s];
    if (rescales()) BlockRescaler(run_, *inputs_, *solver_).rescale(block, b, stage);
    for (size_t g = 0; g < stage.groups.size(); ++g) {
      std::vector<Linear*> linears;
      for (const int index : stage.groups[g].linears) linears.push_back(&block.linears[size_t(index)]);
      solver_->solve(linears, stage.groups[g].expert);
      const double of_stage = double(g + 1) / double(stage.groups.size() + 1);  // the rest is the pass that follows
      tell_progress(run_, pass_, b, double(b) + (double(s) + of_stage) / double(block.stages.size()), first_module_,
                    false);
    }
  }

  // Puts what an earlier run wrote in the place of the float weights.
  void restore(Block& block) {
    const auto timed = run_.clock.time("read back");
    for (Linear& linear : block.linears) {
      if (run_.assignment.find(linear.name) == nullptr) {
        if (run_.sparsity.find(linear.name) != nullptr)
          linear.weight_OI = read_pruned(run_, linear.name).to(linear.weight_OI.device(), at::kFloat);
        continue;
      }
      put_into(linear, read_module(run_, linear.name));
      linear.input_quantization = read_input(run_, linear.name);
    }
  }

  std::vector<model::ModuleInfo> quantized_ends() const {
    std::vector<model::ModuleInfo> ends;
    for (const model::ModuleInfo& module : run_.model.modules()) {
      if (module.block < 0 && is_solved(module.name)) ends.push_back(module);
    }
    return ends;
  }

  // The embedding, and the head on what it reads after the last block.
  void run_ends() {
    run_.clock.enter_block(-1);
    for (const model::ModuleInfo& module : quantized_ends()) {
      if (run_.steps.finished(module.name)) continue;
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
    inputs_->begin(nullptr);
    if (module.class_name == "Embedding")
      solver_->solve_lookup(linear);
    else
      solver_->solve({&linear}, -1);
    solver_->finish(linear);
    finish_step(module.name);
    run_.memory.check();
  }

  bool is_solved(const std::string& module) const {
    return run_.assignment.find(module) != nullptr || run_.sparsity.find(module) != nullptr;
  }

  bool head_is_quantized() const {
    const std::vector<model::ModuleInfo> ends = quantized_ends();
    return std::any_of(ends.begin(), ends.end(),
                       [](const model::ModuleInfo& module) { return module.class_name == "Linear"; });
  }

  void step_float(const std::function<void()>& work) {
    const auto timed = run_.clock.time("float forward");
    work();
  }

  void forward(const std::function<void(Flow&)>& work) {
    const auto timed = run_.clock.time("forward");
    activations_->advance(work, run_.clock.block());
  }

  // Attention, whose queries, keys and values are measured on the way.
  void step_and_measure_heads(Block& block, int64_t b, int s) {
    const size_t flows = activations_->flows().size();
    HeadObserver keys(*run_.assignment.kv_cache, flows), values(*run_.assignment.kv_cache, flows);
    std::optional<HeadObserver> queries;
    if (run_.assignment.attention) queries.emplace(*run_.assignment.attention->input_activations, flows);
    const Flow* first = activations_->flows().data();
    forward([&](Flow& flow) {
      model::AttentionStates states;
      flow.attention_states = &states;
      block.step(s, flow);
      flow.attention_states = nullptr;
      const size_t index = size_t(&flow - first);
      keys.observe(index, states.key_GTE);
      values.observe(index, states.value_GTE);
      if (queries) queries->observe(index, states.query_HTE);
    });
    const graph::AttentionInfo attention = *run_.model.attention(b);
    const at::ScalarType stored = stored_type(run_, attention.keys);
    keys.put(run_.writer, attention.name + ".k_scale", stored);
    values.put(run_.writer, attention.name + ".v_scale", stored);
    if (queries) queries->put(run_.writer, attention.name + ".q_scale", stored);
  }

  const Run& run_;
  const SequentialOptions options_;
  Pass pass_;
  size_t first_module_ = 0;  // of the layer
  const at::Tensor ids_NL_;
  std::optional<Activations> activations_;
  std::optional<FloatStream> float_;  // if some weights are to make up for earlier layers
  std::optional<StageInputs> inputs_;
  std::optional<GroupSolver> solver_;
  std::optional<BlockExpertPruner> experts_;  // if some go
};

}  // namespace

void run_sequential(const Run& run, const at::Tensor& ids_NL, const SequentialOptions& options) {
  Sequential(run, ids_NL, options).run();
}

}  // namespace swage::pipeline
