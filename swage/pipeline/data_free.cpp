#include "swage/pipeline/data_free.h"

#include <map>

#include "swage/base/error.h"
#include "swage/eval/forward.h"
#include "swage/pipeline/output.h"
#include "swage/pipeline/quantized_source.h"
#include "swage/scheme/fused_sets.h"

namespace swage::pipeline {
namespace {

// "3.gate_proj" of experts that are stored as one tensor: gate_up_proj [E, 2I, D] and down_proj [E, D, I].
at::Tensor weight_of_expert(const Run& run, const std::string& experts, const std::string& module) {
  const std::string projection = module.substr(module.find('.') + 1);
  const bool down = projection == "down_proj";
  const at::Tensor whole = run.reader.view(experts + (down ? "down_proj" : "gate_up_proj"))[std::stoll(module)];
  const int64_t half = whole.size(0) / 2;
  return down ? whole : whole.narrow(0, projection == "gate_proj" ? 0 : half, half);
}

// The weight in its stored dtype where the checkpoint has it as such: widening it first would cost a pass over memory.
at::Tensor weight_of(const Run& run, const std::string& module) {
  const std::string name = module + ".weight";
  const io::TensorSpec* stored = run.reader.find(name);
  if (stored != nullptr && is_plain_float(stored->dtype) && run.reader.find(name + "_scale") == nullptr) return run.reader.view(name);
  const size_t cut = module.find(".experts.");
  const bool fused = stored == nullptr && cut != std::string::npos && run.weights.shape(name).empty();
  return fused ? weight_of_expert(run, module.substr(0, cut) + ".experts.", module.substr(cut + 9)) : run.weights.load(name);
}

// Modules that are solved in one call: those that share a global scale, else a single one.
struct Set {
  std::string key;
  std::vector<std::string> modules;
};

void add_to_its_set(std::vector<Set>& sets, const Run& run, const std::string& module) {
  const bool shares = run.assignment.find(module)->weights->strategy == scheme::Strategy::TensorGroup;
  const std::string key = shares ? scheme::fused_set(module) : module;
  for (Set& set : sets) {
    if (set.key == key) return set.modules.push_back(module);
  }
  sets.push_back({key, {module}});
}

std::vector<modifiers::SolvedLinear> quantize(const Run& run, const Set& set) {
  std::vector<modifiers::LinearTask> tasks;
  for (const std::string& name : set.modules) {
    tasks.push_back({name, weight_of(run, name), checkpoint::scalar_type_of(stored_dtype(run.reader, name)), run.assignment.find(name)});
  }
  try {
    return run.assignment.quantizer_of(set.modules[0]).quantize(tasks, {});
  } catch (Error& e) {
    e.add_context((set.modules.size() == 1 ? set.modules[0] : set.key) + ".weight");
    throw;
  }
}

}  // namespace

void run_data_free(const Run& run) {
  std::map<int, std::vector<Set>> sets_of_block;
  for (const model::ModuleInfo& module : run.model.modules()) {
    if (run.assignment.find(module.name) != nullptr) add_to_its_set(sets_of_block[module.block], run, module.name);
  }
  const int64_t blocks = run.model.blocks();
  for (const auto& [block, sets] : sets_of_block) {
    run.context.check_cancelled();
    if (run.steps.finished(block_step(block))) continue;
    if (block + 1 < blocks) run.weights.prefetch(run.model.tensors_of_block(block + 1));
    std::vector<std::vector<modifiers::SolvedLinear>> solved(sets.size());
    {
      const auto timed = run.clock.time("solve");
      eval::for_each_parallel(int64_t(sets.size()), [&](int64_t i) { solved[size_t(i)] = quantize(run, sets[size_t(i)]); });
    }
    const auto timed = run.clock.time("pack and write");
    for (size_t i = 0; i < sets.size(); ++i) {
      for (size_t k = 0; k < sets[i].modules.size(); ++k) finish_module(run, sets[i].modules[k], solved[i][k], 0);
    }
    if (block >= 0) {
      drop_block(run.reader, run.model, block);
    }
    {
      const auto timed_journal = run.clock.time("journal");
      run.steps.finish(block_step(block));
    }
    tell_progress(run, "quantizing", block, double(block + 1), double(blocks), 0);
  }
}

}  // namespace swage::pipeline
