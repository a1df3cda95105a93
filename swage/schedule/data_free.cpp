#include "swage/schedule/data_free.h"

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

// Modules that are solved in one call: those that share a global scale, else a single one.
struct Set {
  std::string key;
  std::vector<model::ModuleInfo> modules;
};

void add_to_its_set(std::vector<Set>& sets, const Run& run, const model::ModuleInfo& module) {
  const bool shares = run.assignment.find(module.name)->weights->strategy == scheme::Strategy::TensorGroup;
  const std::string key = shares ? scheme::fused_set(module.name) : module.name;
  for (Set& set : sets) {
    if (set.key == key) return set.modules.push_back(module);
  }
  sets.push_back({key, {module}});
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
    const at::ScalarType stored = checkpoint::scalar_type_of(stored_dtype(run.reader, name));
    const modifiers::LinearTask task{name, weight_of(run, module), stored};
    modifiers::SparsifiedLinear pruned =
        run.sparsity.find(name)->by->sparsify({&task, 1}, {}, run.sparsity.find(name)->pattern)[0];
    const at::Tensor weight_OI = pruned.weight_OI.to(stored);
    run.writer.put(name + ".weight", weight_OI);
    finish_pruned(run, name, pruned, weight_OI, 0);
  }
}

std::vector<modifiers::SolvedLinear> quantize(const Run& run, const Set& set) {
  std::vector<modifiers::LinearTask> tasks;
  for (const model::ModuleInfo& module : set.modules) {
    const std::string& name = module.name;
    tasks.push_back({name, weight_of(run, module), checkpoint::scalar_type_of(stored_dtype(run.reader, name)),
                     run.assignment.find(name)});
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

std::vector<ModuleReport> quantize_and_write(const Run& run, const Set& set) {
  const std::vector<modifiers::SolvedLinear> solved = quantize(run, set);
  std::vector<ModuleReport> out;
  for (size_t i = 0; i < solved.size(); ++i) out.push_back(write_module(run, set.modules[i].name, solved[i], 0));
  return out;
}

}  // namespace

void run_data_free(const Run& run) {
  std::map<int, std::vector<Set>> sets_of_block;
  std::map<int, std::vector<model::ModuleInfo>> dense_of_block;
  for (const model::ModuleInfo& module : run.model.modules()) {
    if (run.sparsity.rewritten.contains(module.name + ".weight")) {
      dense_of_block[module.block].push_back(module);
      sets_of_block[module.block];  // the block has work
    }
    if (run.assignment.find(module.name) != nullptr) add_to_its_set(sets_of_block[module.block], run, module);
  }
  const int64_t blocks = run.model.blocks();
  Pass pass{.stage = "quantizing", .planned = "quantize", .began_seconds = run.clock.total_seconds()};
  for (const auto& [block, sets] : sets_of_block) {
    run.context.check_cancelled();
    if (run.steps.finished(block_step(block))) {
      pass.first = double(block + 1);
      continue;
    }
    const size_t first_module = run.modules.size();
    if (block + 1 < blocks) run.weights.prefetch(run.model.tensors_of_block(block + 1));
    run.clock.enter_block(block);
    const TraceSpan span(run.context.trace, "layer", Trace::Kind::Other, block);
    std::vector<std::vector<ModuleReport>> reports(sets.size());
    {
      const auto timed = run.clock.time("solve, pack and write");
      eval::for_each_parallel(int64_t(sets.size()), [&](int64_t i) {
        const TraceSpan span_of_set(run.context.trace, "read, round and write", Trace::Kind::Compute, block,
                                    sets[size_t(i)].key);
        reports[size_t(i)] = quantize_and_write(run, sets[size_t(i)]);
      });
    }
    prune_dense(run, dense_of_block[block]);
    for (std::vector<ModuleReport>& of_set : reports) {
      for (ModuleReport& report : of_set) note_module(run, std::move(report));
    }
    if (block >= 0) {
      drop_block(run.reader, run.model, block);
    }
    {
      const auto timed_journal = run.clock.time("journal");
      run.steps.finish(block_step(block));
    }
    run.memory.check();
    tell_progress(run, pass, block, double(block + 1), first_module, true);
  }
}

}  // namespace swage::pipeline
