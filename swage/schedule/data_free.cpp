#include "swage/schedule/data_free.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "swage/base/error.h"
#include "swage/eval/forward.h"
#include "swage/model/stored_part.h"
#include "swage/resolve/output.h"
#include "swage/resolve/quantized_source.h"
#include "swage/scheme/fused_sets.h"

namespace swage::pipeline {
namespace {

// Values of tensor `name` of the source as the model has them.
at::Tensor as_in_model(const Run& run, const std::string& name, const at::Tensor& values) {
  return run.rotated ? run.rotated->rotate(name, values) : values;
}

// Values as they lie in the file; doubles as floats, which is what is calculated with.
at::Tensor computable(const at::Tensor& values) {
  return values.scalar_type() == at::kDouble ? values.to(at::kFloat) : values;
}

at::Tensor stored_values(const Run& run, const std::string& name) {
  run.reader.note(name);
  return computable(run.reader.view(name));
}

// Of a linear that shares a tensor with others.
at::Tensor part_of(const Run& run, const graph::Stored& stored, int64_t rows) {
  if (run.reader.find(stored.tensor) == nullptr)  // it is encoded as a whole
    return model::weight_part(stored, rows, run.weights.load(stored.tensor));
  run.reader.note(stored.tensor);
  return as_in_model(run, stored.tensor, computable(model::weight_part(stored, rows, run.reader.view(stored.tensor))));
}

// The weight in its stored dtype where the checkpoint has it as such: widening it first would cost a pass over memory.
at::Tensor weight_of(const Run& run, const model::ModuleInfo& module) {
  const std::string name = module.name + ".weight";
  const io::TensorSpec* stored = run.reader.find(name);
  if (stored != nullptr && is_plain_float(stored->dtype) && run.reader.find(name + "_scale") == nullptr)
    return as_in_model(run, name, stored_values(run, name));
  return module.stored.shared() && run.weights.shape(name).empty() ? part_of(run, module.stored, module.rows)
                                                                   : run.weights.load(name);
}

// The pruned weights in place of those of the tasks that a modifier prunes. What it says of them, without the weights,
// beside the tasks.
std::vector<std::optional<modifiers::SparsifiedLinear>> prune(const Run& run,
                                                              std::vector<modifiers::LinearTask>& tasks) {
  std::vector<std::optional<modifiers::SparsifiedLinear>> out(tasks.size());
  for (size_t i = 0; i < tasks.size(); ++i) {
    const Sparsity::Choice* choice = run.sparsity.find(std::string(tasks[i].name));
    if (choice == nullptr) continue;
    out[i] = choice->by->sparsify({&tasks[i], 1}, {}, choice->pattern)[0];
    tasks[i].weight_OI = std::exchange(out[i]->weight_OI, at::Tensor());
    tasks[i].keep_zeros = true;
  }
  return out;
}

// Writes the modules of a block that are pruned and stay dense.
void prune_dense(const Run& run, const std::vector<model::ModuleInfo>& modules) {
  for (const model::ModuleInfo& module : modules) {
    const std::string& name = module.name;
    const at::ScalarType stored = stored_type(run, module.tensor());
    const modifiers::LinearTask task{name, weight_of(run, module), stored};
    modifiers::SparsifiedLinear pruned =
        run.sparsity.find(name)->by->sparsify({&task, 1}, {}, run.sparsity.find(name)->pattern)[0];
    const at::Tensor weight_OI = pruned.weight_OI.to(stored);
    run.writer.put(name + ".weight", weight_OI);
    finish_pruned(run, name, pruned, weight_OI, 0);
  }
}

std::vector<modifiers::SolvedLinear> quantize(const Run& run, const LayerWithoutData::Set& set) {
  std::vector<modifiers::LinearTask> tasks;
  for (const model::ModuleInfo& module : set.modules) {
    const std::string& name = module.name;
    tasks.push_back({name, weight_of(run, module), stored_type(run, module.tensor()), run.assignment.find(name)});
  }
  try {
    const auto pruned = prune(run, tasks);
    std::vector<modifiers::SolvedLinear> solved = run.assignment.quantizer_of(set.modules[0].name).quantize(tasks, {});
    for (size_t i = 0; i < solved.size(); ++i) {
      if (pruned[i]) modifiers::add_pruning(*pruned[i], solved[i]);
    }
    return solved;
  } catch (Error& e) {
    e.add_context((set.modules.size() == 1 ? set.modules[0].name : set.key) + ".weight");
    throw;
  }
}

std::vector<ModuleReport> quantize_and_write(const Run& run, const LayerWithoutData::Set& set) {
  const std::vector<modifiers::SolvedLinear> solved = quantize(run, set);
  std::vector<ModuleReport> out;
  for (size_t i = 0; i < solved.size(); ++i) out.push_back(write_module(run, set.modules[i].name, solved[i], 0));
  return out;
}

}  // namespace

void LayerWithoutData::add(const PlanInput& in, const model::ModuleInfo& module) {
  const scheme::Scheme* scheme = in.assignment.find(module.name);
  if (scheme == nullptr) {
    if (in.sparsity.find(module.name) != nullptr) dense_.push_back(module);
    return;
  }
  const bool shares = scheme->weights->strategy == scheme::Strategy::TensorGroup;
  const std::string key = shares ? scheme::fused_set(module.name) : module.name;
  for (Set& set : sets_) {
    if (set.key == key) return set.modules.push_back(module);
  }
  sets_.push_back({key, {module}});
}

// Pages of the weights and the results of all modules; scratch of one on each thread, or what one is packed into.
void LayerWithoutData::cost(const PlanInput& in, PlanStage& stage) const {
  double weights = 0, results = 0, scratch = 0, packed = 0;
  const auto add = [&](const model::ModuleInfo& module) {
    const scheme::Scheme* scheme = in.assignment.find(module.name);
    const Sparsity::Choice* pruned = in.sparsity.find(module.name);
    const modifiers::LinearShape shape{module.rows, module.columns,
                                       scheme != nullptr && scheme->weights ? &*scheme->weights : nullptr};
    double of_module = 0;
    if (pruned != nullptr) {
      const modifiers::Cost cost = pruned->by->cost({&shape, 1}, {});
      of_module += double(cost.scratch_bytes);
      stage.work.moved_bytes += kFloat * cost.passes;
    }
    if (scheme != nullptr) {
      const modifiers::Cost cost = in.assignment.quantizer_of(module.name).cost({&shape, 1}, {});
      results += double(cost.scratch_bytes);
      stage.work.moved_bytes += kFloat * cost.passes;
    }
    const double parameters = double(module.parameters());
    if (in.bytes_per_weight < 2) of_module += kFloat * parameters;  // the source holds codes
    if (in.rotates) of_module += kRotationBytes * parameters;
    weights += in.bytes_per_weight * parameters;
    scratch = std::max(scratch, of_module);
    packed = std::max(packed, parameters);  // at most a byte a weight
    stage.work.read_bytes += uint64_t(in.bytes_per_weight * parameters);
  };
  for (const Set& set : sets_) std::for_each(set.modules.begin(), set.modules.end(), add);
  std::for_each(dense_.begin(), dense_.end(), add);
  Moment now(in);
  now.host("pages of the source", weights)
      .host("solved weights", results)
      .host("solver", std::max(in.threads * scratch, packed));
  keep_larger(stage, now, block_ < 0 ? "outside the layers" : cat("layer ", block_));
}

void LayerWithoutData::run(const Run& run) const {
  if (block_ + 1 < run.model.blocks()) run.weights.prefetch(run.model.tensors_of_block(block_ + 1));
  std::vector<std::vector<ModuleReport>> reports(sets_.size());
  {
    const auto timed = run.clock.time("solve, pack and write");
    eval::for_each_parallel(int64_t(sets_.size()), [&](int64_t i) {
      const Set& set = sets_[size_t(i)];
      const TraceSpan span(run.context.trace, "read, round and write", Trace::Kind::Compute, block_, set.key);
      reports[size_t(i)] = quantize_and_write(run, set);
    });
  }
  prune_dense(run, dense_);
  for (std::vector<ModuleReport>& of_set : reports) {
    for (ModuleReport& report : of_set) note_module(run, std::move(report));
  }
  if (block_ >= 0) drop_block(run.reader, run.model, block_);
}

std::vector<LayerWithoutData> data_free_schedule(const PlanInput& input) {
  std::map<int, LayerWithoutData> layers;
  for (const model::ModuleInfo& module : input.shape.modules()) {
    if (input.assignment.find(module.name) == nullptr && input.sparsity.find(module.name) == nullptr) continue;
    layers.try_emplace(module.block, module.block).first->second.add(input, module);
  }
  std::vector<LayerWithoutData> out;
  for (auto& [block, layer] : layers) out.push_back(std::move(layer));
  return out;
}

PlanStage plan_data_free(const PlanInput& input) {
  PlanStage stage{.name = "quantize", .at = {}, .parts = {}, .work = {}};
  for (const LayerWithoutData& layer : data_free_schedule(input)) layer.cost(input, stage);
  return stage;
}

void run_data_free(const Run& run, const PlanInput& planned) {
  Pass pass{.stage = "quantizing", .planned = "quantize", .began_seconds = run.clock.total_seconds()};
  for (const LayerWithoutData& layer : data_free_schedule(planned)) {
    run.context.check_cancelled();
    const std::string step = block_step(layer.block());
    if (run.steps.finished(step)) {
      pass.first = double(layer.block() + 1);
      continue;
    }
    const size_t first_module = run.modules.size();
    run.clock.enter_block(layer.block());
    {
      const TraceSpan span(run.context.trace, "layer", Trace::Kind::Other, layer.block());
      layer.run(run);
      const auto timed = run.clock.time("journal");
      run.steps.finish(step);
    }
    run.memory.check();
    tell_progress(run, pass, layer.block(), double(layer.block() + 1), first_module, true);
  }
}

}  // namespace swage::pipeline
