#include "swage/pipeline/sequential.h"

#include <ATen/ops/index_select.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <map>
#include <optional>

#include "swage/base/error.h"
#include "swage/base/memory.h"
#include "swage/ops/gram.h"
#include "swage/ops/integer_linear.h"
#include "swage/eval/forward.h"
#include "swage/pipeline/activation_scales.h"
#include "swage/pipeline/activations.h"
#include "swage/pipeline/column_statistics.h"
#include "swage/pipeline/float_stream.h"
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
  const bool integers = weight.codes_OI.scalar_type() == at::kChar;  // bytes are the codes of narrow floats
  const bool grouped_in_order = !orders_columns(weight) && weight.scale_OG.dim() == 2;
  if (device.is_cpu() && integers && grouped_in_order) linear.integer_weight = ops::IntegerLinear::make(weight.codes_OI, weight.scale_OG, weight.zero_point_OG);
  if (!linear.integer_weight) linear.weight_OI = format::dequantize(weight).to(device);
}

class Sequential {
 public:
  Sequential(const Run& run, const at::Tensor& ids_NL, const SequentialOptions& options)
      : run_(run), options_(options), tokens_(ids_NL.numel()), ids_NL_(ids_NL) {}

  void run() {
    if (all_finished()) return;
    embed();
    const int64_t blocks = run_.model.blocks();
    const int64_t first = load_activations();
    for (int64_t b = 0; float_ && b < first; ++b) float_->pass_block(run_.model, b, run_.weights);
    for (int64_t b = first; b < blocks; ++b) {
      const bool finished = run_.steps.finished(block_step(b));
      try {
        run_block(b, b + 1 == blocks, finished);
      } catch (Error& e) {
        e.add_context(cat("layer ", b));
        throw;
      }
      tell_progress(run_, finished ? "resuming" : "calibrating", b, double(b + 1), double(blocks), tokens_ * (b + 1));
    }
    run_ends();
  }

 private:
  void embed() {
    const auto timed = run_.clock.time("embed");
    run_.model.load_ends(run_.weights);
    activations_.emplace(run_.model, ids_NL_);
    const std::vector<const modifiers::Quantizer*>& quantizers = run_.assignment.quantizers;
    const auto looks_back = [](const modifiers::Quantizer* quantizer) { return quantizer->target() != modifiers::Target::Weights; };
    if (std::any_of(quantizers.begin(), quantizers.end(), looks_back)) float_.emplace(run_.model, ids_NL_);
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
    std::unique_ptr<Block> block;
    {
      const auto timed = run_.clock.time("read weights");
      if (b + 1 < run_.model.blocks()) run_.weights.prefetch(run_.model.tensors_of_block(b + 1));
      block = run_.model.load_block(b, run_.weights);
    }
    if (finished) restore(*block);
    for (const Linear& linear : block->linears) activations_->make_room(linear.columns);
    forward([&](Flow& flow) { block->begin(flow); });
    if (float_) step_float([&] { float_->begin_block(run_.model, b, run_.weights); });
    for (size_t s = 0; s < block->stages.size(); ++s) {
      run_.context.check_cancelled();
      shared_ = {};
      stage_ = &block->stages[s];
      if (!finished) solve_stage(*block, b, block->stages[s]);
      if (last_block && s + 1 == block->stages.size() && !head_is_quantized()) break;  // nothing reads the last output
      if (s == 0 && run_.assignment.kv_cache && !finished) {
        step_and_measure_cache(*block);
      } else {
        forward([&](Flow& flow) { block->step(int(s), flow); });
      }
      if (float_) step_float([&] { float_->step(int(s)); });
    }
    stage_ = nullptr;
    if (float_) float_->end_block();
    if (!finished) finish_block(*block);
    drop_block(run_.reader, run_.model, b);
    block.reset();
    release_free_memory();
    if (finished) return;
    if (rescales() && run_.steps.keeps()) save_activations(b);
    finish_step(block_step(b));
  }

  bool rescales() const { return !run_.rescalings.of_block.empty(); }

  // Weights that were rescaled after their block had used them do not give its output back bit for bit, so that is saved itself. Two
  // files in turn: one stays whole while the other is written.
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

  void solve_stage(Block& block, int64_t b, const model::Stage& stage) {
    if (rescales()) rescale(block, b, stage);
    for (const InputGroup& group : stage.groups) solve(pointers(block, group), group.expert);
  }

  // Puts what an earlier run wrote in the place of the float weights.
  void restore(Block& block) {
    const auto timed = run_.clock.time("read back");
    for (Linear& linear : block.linears) {
      if (run_.assignment.find(linear.name) == nullptr) {
        if (run_.sparsity.find(linear.name) != nullptr) linear.weight_OI = read_pruned(run_, linear.name).to(linear.weight_OI.device(), at::kFloat);
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
    shared_ = {};
    lookup_ = module.class_name == "Embedding";
    solve({&linear}, -1);
    lookup_ = false;
    if (run_.sparsity.rewritten.contains(module.name + ".weight")) put_rewritten(module.name + ".weight", linear.weight_OI);
    finish_if_pruned(linear);
    finish_step(module.name);
  }

  bool is_solved(const std::string& module) const { return run_.assignment.find(module) != nullptr || run_.sparsity.find(module) != nullptr; }

  bool head_is_quantized() const {
    const std::vector<model::ModuleInfo> ends = quantized_ends();
    return std::any_of(ends.begin(), ends.end(), [](const model::ModuleInfo& module) { return module.class_name == "Linear"; });
  }

  static std::vector<Linear*> pointers(Block& block, const InputGroup& group) {
    std::vector<Linear*> out;
    for (const int index : group.linears) out.push_back(&block.linears[size_t(index)]);
    return out;
  }

  void step_float(const std::function<void()>& work) {
    const auto timed = run_.clock.time("float forward");
    work();
  }

  void forward(const std::function<void(Flow&)>& work) {
    const auto timed = run_.clock.time("forward");
    activations_->advance(work);
  }

  // Attention, whose keys and values are measured on the way.
  void step_and_measure_cache(Block& block) {
    CacheObservers cache(*run_.assignment.kv_cache, activations_->flows().size());
    const Flow* first = activations_->flows().data();
    forward([&](Flow& flow) {
      model::AttentionStates states;
      flow.attention_states = &states;
      block.step(0, flow);
      flow.attention_states = nullptr;
      cache.observe(size_t(&flow - first), states);
    });
    const std::string& query = block.linears[0].name;
    cache.put(run_.writer, query.substr(0, query.rfind('.')), stored_type(query));
  }

  at::ScalarType stored_type(const std::string& module) const { return checkpoint::scalar_type_of(stored_dtype(run_.reader, module)); }

  // Quantizes those of the linears, which all read the same input, that have a scheme, and puts their quantized values in
  // their place. `expert`: whose tokens count, or -1.
  void solve(const std::vector<Linear*>& group, int expert) {
    if (!run_.sparsity.of_module.empty()) prune(group, expert);
    std::vector<std::vector<Linear*>> parts;  // that one modifier solves at once, for inputs that are quantized alike
    for (Linear* linear : group) {
      if (run_.assignment.find(linear->name) == nullptr) continue;
      const auto goes_with = [&](const std::vector<Linear*>& part) { return are_solved_alike(part[0]->name, linear->name); };
      const auto part = std::find_if(parts.begin(), parts.end(), goes_with);
      if (part != parts.end()) part->push_back(linear);
      else parts.push_back({linear});
    }
    for (const std::vector<Linear*>& part : parts) solve(run_.assignment.quantizer_of(part[0]->name), part, expert);
  }

  // Prunes those of the linears, which all read the same input, that a modifier prunes; each modifier its own at once.
  void prune(const std::vector<Linear*>& group, int expert) {
    std::vector<Linear*> left;
    for (Linear* linear : group) {
      if (run_.sparsity.find(linear->name) != nullptr) left.push_back(linear);
    }
    while (!left.empty()) {
      const Sparsity::Choice choice = *run_.sparsity.find(left[0]->name);
      const auto is_next = [&](const Linear* linear) {
        const Sparsity::Choice& other = *run_.sparsity.find(linear->name);
        return other.by != choice.by || other.pattern.sparsity != choice.pattern.sparsity;
      };
      const auto rest = std::stable_partition(left.begin(), left.end(), [&](const Linear* linear) { return !is_next(linear); });
      prune(choice, {left.begin(), rest}, expert);
      left.erase(left.begin(), rest);
    }
  }

  void prune(const Sparsity::Choice& choice, const std::vector<Linear*>& linears, int expert) {
    std::vector<modifiers::LinearTask> tasks;
    for (const Linear* linear : linears) tasks.push_back({linear->name, linear->weight_OI, stored_type(linear->name)});
    std::string warning;
    if (shared_for_) shared_ = {};
    shared_for_.reset();
    const modifiers::Statistics statistics = choice.by->needs_calibration() ? measure(linears[0]->columns, expert, {}, warning) : modifiers::Statistics();
    std::vector<modifiers::SparsifiedLinear> pruned;
    {
      const auto timed = run_.clock.time("prune");
      pruned = choice.by->sparsify(tasks, statistics, choice.pattern);
    }
    for (size_t i = 0; i < linears.size(); ++i) {
      if (!warning.empty()) pruned[i].warnings.push_back(warning);
      linears[i]->weight_OI = pruned[i].weight_OI.to(linears[i]->weight_OI.device());
      if (run_.assignment.find(linears[i]->name) == nullptr) {  // it stays dense: the rest of the run sees what will be stored
        linears[i]->weight_OI = linears[i]->weight_OI.to(tasks[i].stored_dtype).to(at::kFloat);
      }
      pruned[i].weight_OI = at::Tensor();
      pruned_[linears[i]->name] = {std::move(pruned[i]), statistics.tokens};
    }
  }

  bool are_solved_alike(const std::string& a, const std::string& b) const {
    return &run_.assignment.quantizer_of(a) == &run_.assignment.quantizer_of(b) &&
           run_.assignment.find(a)->input_activations == run_.assignment.find(b)->input_activations;
  }

  void solve(const modifiers::Quantizer& quantizer, const std::vector<Linear*>& linears, int expert) {
    std::vector<modifiers::LinearTask> tasks;
    for (const Linear* linear : linears) {
      tasks.push_back({linear->name, linear->weight_OI, stored_type(linear->name), run_.assignment.find(linear->name)});
      tasks.back().keep_zeros = run_.sparsity.find(linear->name) != nullptr;
    }
    const std::optional<model::ActivationQuantization> input = measure_input(tasks[0], expert);
    std::string warning;
    const bool looks = quantizer.needs_calibration() && !lookup_;
    if (tasks[0].scheme->input_activations != shared_for_) shared_ = {};
    shared_for_ = tasks[0].scheme->input_activations;
    const bool corrects = looks && stage_ != nullptr && quantizer.target() != modifiers::Target::Weights && !(options_.moe_routed && expert >= 0) &&
                          std::none_of(tasks.begin(), tasks.end(), [](const auto& task) { return task.keep_zeros; });  // which a correction would fill
    modifiers::Statistics statistics;
    std::vector<solvers::CorrectedTarget> targets;
    if (corrects) {
      targets = correct(tasks, input, stage_->into_residual && quantizer.target() == modifiers::Target::Residual, statistics);
    } else if (looks) {
      statistics = measure(linears[0]->columns, expert, input, warning);
    }
    std::vector<modifiers::SolvedLinear> solved;
    {
      const auto timed = run_.clock.time("solve");
      solved = quantizer.quantize(tasks, statistics);
    }
    const auto timed = run_.clock.time("pack and write");
    for (size_t i = 0; i < linears.size(); ++i) {
      if (!warning.empty()) solved[i].warnings.push_back(warning);
      if (!targets.empty()) solved[i].target = {targets[i].ridge, targets[i].fitted, targets[i].held_out};
      add_pruning(linears[i]->name, solved[i]);
      put_into(*linears[i], solved[i].weight);
      linears[i]->input_quantization = input;
      if (input) put_input(run_.writer, linears[i]->name, *input, tasks[i].stored_dtype);
      if (run_.rescalings.follow_linears) pending_.push_back({linears[i]->name, std::move(solved[i]), statistics.tokens});
      else finish_module(run_, linears[i]->name, solved[i], statistics.tokens);
    }
  }

  void add_pruning(const std::string& name, modifiers::SolvedLinear& solved) {
    const auto found = pruned_.find(name);
    if (found == pruned_.end()) return;
    modifiers::add_pruning(found->second.pruned, solved);
    pruned_.erase(found);
  }

  // What waited for the end of the block, and the float linears whose weights were rescaled.
  void finish_block(const Block& block) {
    const auto timed = run_.clock.time("pack and write");
    for (const Pending& module : pending_) finish_module(run_, module.name, module.solved, module.tokens);
    pending_.clear();
    for (const Linear& linear : block.linears) {
      const std::string name = linear.name + ".weight";
      if (run_.rescalings.rewritten.contains(name) || run_.sparsity.rewritten.contains(name)) put_rewritten(name, linear.weight_OI);
      finish_if_pruned(linear);
    }
  }

  // Notes a linear that was pruned and stays dense.
  void finish_if_pruned(const Linear& linear) {
    const auto found = pruned_.find(linear.name);
    if (found == pruned_.end()) return;
    finish_pruned(run_, linear.name, found->second.pruned, linear.weight_OI.cpu().to(stored_type(linear.name)), found->second.tokens);
    pruned_.erase(found);
  }

  void put_rewritten(const std::string& name, const at::Tensor& value) {
    run_.writer.put(name, value.to(checkpoint::scalar_type_of(run_.reader.find(name)->dtype)));
  }

  // Divides what the linears of the stage read, and multiplies their columns, as the recipe's rescalers find best.
  void rescale(Block& block, int64_t b, const model::Stage& stage) {
    for (const Rescaling& rescaling : run_.rescalings.of_block[size_t(b)]) {
      std::vector<Linear*> consumers;
      for (const InputGroup& group : stage.groups) {
        for (Linear* linear : pointers(block, group)) {
          const std::vector<std::string>& names = rescaling.pair.consumers;
          if (std::find(names.begin(), names.end(), linear->name) != names.end()) consumers.push_back(linear);
        }
      }
      if (consumers.empty()) continue;
      const auto timed = run_.clock.time("rescale");
      rescale(block, rescaling, consumers);
    }
  }

  void rescale(Block& block, const Rescaling& rescaling, const std::vector<Linear*>& consumers) {
    const model::SmoothingPair& pair = rescaling.pair;
    modifiers::RescaleTask task{{}, column_statistics(activations_->flows()), {}, pair.run, pair.repeats};
    const at::Tensor one_I = at::ones_like(task.columns.low_I);
    at::Tensor total_I = one_I, norm_I;
    if (pair.norm) norm_I = run_.weights.load(pair.producer + ".weight");
    for (const modifiers::Rescaler* by : rescaling.by) {
      task.consumers.clear();
      for (const Linear* linear : consumers) task.consumers.push_back({linear->name, linear->weight_OI, stored_type(linear->name), run_.assignment.find(linear->name)});
      if (by->needs_gram() && !task.statistics.gram_II.defined()) task.statistics = gram(consumers[0]->columns, -1, {});
      at::Tensor s_I = by->scales(task);
      if (pair.norm) {
        const at::ScalarType stored = checkpoint::scalar_type_of(run_.reader.find(pair.producer + ".weight")->dtype);
        norm_I = divide_norm(norm_I, stored, s_I).to(at::kFloat);
      }
      for (Linear* linear : consumers) linear->weight_OI = linear->weight_OI.mul(s_I);
      divide(task, s_I);
      total_I = total_I.mul(s_I);
    }
    activations_->scale_inputs(one_I.div(total_I), pair.norm);
    if (float_) float_->scale_inputs(one_I.div(total_I));
    if (task.statistics.gram_II.defined()) {
      shared_ = task.statistics;
      shared_for_.reset();
    }
    divide_producer(block, pair, norm_I, scales_of_producer(total_I, pair));
    for (const std::string& name : pair.consumers) {
      const bool in_block = std::any_of(block.linears.begin(), block.linears.end(), [&](const Linear& linear) { return linear.name == name; });
      if (!in_block) put_rewritten(name + ".weight", run_.weights.load(name + ".weight").mul(total_I));  // a router
    }
  }

  // The statistics of inputs that were divided by s_I.
  static void divide(modifiers::RescaleTask& task, const at::Tensor& s_I) {
    for (at::Tensor* column_I : {&task.columns.low_I, &task.columns.high_I, &task.columns.mean_abs_I}) *column_I = column_I->div(s_I);
    if (task.statistics.gram_II.defined()) task.statistics.gram_II = task.statistics.gram_II.div(s_I.unsqueeze(0)).div_(s_I.unsqueeze(1));
  }

  // `norm_I`: the new weight, if the producer is a norm.
  void divide_producer(Block& block, const model::SmoothingPair& pair, const at::Tensor& norm_I, const at::Tensor& s_O) {
    if (pair.bias) put_rewritten(pair.producer + ".bias", run_.weights.load(pair.producer + ".bias").div(s_O));
    if (pair.norm) return put_rewritten(pair.producer + ".weight", norm_I);
    const auto waiting = std::find_if(pending_.begin(), pending_.end(), [&](const Pending& module) { return module.name == pair.producer; });
    if (waiting != pending_.end()) {
      at::Tensor& scale_OG = waiting->solved.weight.scale_OG;
      scale_OG = scale_OG.to(at::kFloat).div(s_O.unsqueeze(1)).to(scale_OG.scalar_type());
      return;
    }
    for (Linear& linear : block.linears) {
      if (linear.name == pair.producer) linear.weight_OI = linear.weight_OI.div(s_O.unsqueeze(1));
    }
  }

  // Puts what the linears should compute on the inputs as they are now in the place of their weights.
  std::vector<solvers::CorrectedTarget> correct(std::vector<modifiers::LinearTask>& tasks, const std::optional<model::ActivationQuantization>& input,
                                                bool residual, modifiers::Statistics& statistics) {
    std::vector<at::Tensor> weights;
    for (const modifiers::LinearTask& task : tasks) weights.push_back(task.weight_OI);
    solvers::TargetMoments fit, held_out;
    {
      const auto timed = run_.clock.time("gram");
      fit = float_->moments(*activations_, input, residual, false);
      held_out = float_->moments(*activations_, input, residual, true);
    }
    const auto timed = run_.clock.time("correct targets");
    std::vector<solvers::CorrectedTarget> out = solvers::correct_targets(weights, fit, held_out);
    for (size_t i = 0; i < tasks.size(); ++i) tasks[i].weight_OI = out[i].weight_OI;
    statistics = {fit.gram_II.add_(held_out.gram_II), tokens_};
    return out;
  }

  // How the task's scheme quantizes its input, with the scale that the calibration set gives.
  std::optional<model::ActivationQuantization> measure_input(const modifiers::LinearTask& task, int expert) {
    if (!task.scheme->input_activations) return {};
    const auto timed = run_.clock.time("input scales");
    const scheme::QuantizationArgs& args = *task.scheme->input_activations;
    const auto observed = needs_range(args) ? observe_inputs(args, activations_->flows(), options_.moe_routed ? expert : -1) : nullptr;
    return input_quantization(args, observed.get(), task.stored_dtype);
  }

  // The Gram matrix of the group's input as its linears will see it: quantized where their scheme says so. An expert's own
  // tokens count if asked for and if there are enough of them to span its input; otherwise those of all experts do.
  modifiers::Statistics measure(int64_t columns, int expert, const std::optional<model::ActivationQuantization>& input, std::string& warning) {
    const auto timed = run_.clock.time("gram");
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

  // A solved module that is written at the end of its block, when its scales are final.
  struct Pending {
    std::string name;
    modifiers::SolvedLinear solved;
    int64_t tokens;
  };

  // A module that was pruned, until it is written; without its weight.
  struct Pruned {
    modifiers::SparsifiedLinear pruned;
    int64_t tokens;
  };

  const Run& run_;
  const SequentialOptions options_;
  const int64_t tokens_;
  const at::Tensor ids_NL_;
  std::optional<Activations> activations_;
  std::optional<FloatStream> float_;      // if some weights are to make up for earlier layers
  const model::Stage* stage_ = nullptr;   // that is being solved; null outside the blocks
  at::Tensor gram_scratch_;
  std::vector<Pending> pending_;
  std::map<std::string, Pruned> pruned_;
  modifiers::Statistics shared_;  // of all tokens, for every group of the current stage
  std::optional<scheme::QuantizationArgs> shared_for_;  // how the inputs were quantized that it describes
  bool lookup_ = false;           // an embedding is solved: its input has no statistics
};

}  // namespace

void run_sequential(const Run& run, const at::Tensor& ids_NL, const SequentialOptions& options) {
  Sequential(run, ids_NL, options).run();
}

}  // namespace swage::pipeline
