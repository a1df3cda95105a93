#include "swage/pipeline/data_free.h"

#include <map>

#include "swage/base/error.h"
#include "swage/eval/forward.h"
#include "swage/pipeline/output.h"

namespace swage::pipeline {
namespace {

// The weight in its stored dtype where the checkpoint has it as such: widening it first would cost a pass over memory.
at::Tensor weight_of(const Run& run, const std::string& module) {
  const std::string name = module + ".weight";
  return run.reader.find(name) != nullptr ? run.reader.view(name) : run.weights.load(name);
}

}  // namespace

void run_data_free(const Run& run) {
  std::map<int, std::vector<std::string>> modules_of_block;
  for (const model::ModuleInfo& module : run.model.modules()) {
    if (run.assignment.find(module.name) != nullptr) modules_of_block[module.block].push_back(module.name);
  }
  const int64_t blocks = run.model.blocks();
  for (const auto& [block, names] : modules_of_block) {
    run.context.check_cancelled();
    if (block + 1 < blocks) run.weights.prefetch(run.model.tensors_of_block(block + 1));
    std::vector<modifiers::SolvedLinear> solved(names.size());
    {
      const auto timed = run.clock.time("solve");
      eval::for_each_parallel(int64_t(names.size()), [&](int64_t i) {
        const std::string& name = names[size_t(i)];
        const modifiers::LinearTask task{name, weight_of(run, name), checkpoint::scalar_type_of(stored_dtype(run.reader, name)), run.assignment.find(name)};
        try {
          solved[size_t(i)] = std::move(run.modifier.quantize({&task, 1}, {})[0]);
        } catch (Error& e) {
          e.add_context(name + ".weight");
          throw;
        }
      });
    }
    const auto timed = run.clock.time("pack and write");
    for (size_t i = 0; i < names.size(); ++i) finish_module(run, names[i], solved[i], 0);
    for (const std::string& name : run.model.tensors_of_block(block)) run.reader.drop(name);
    tell_progress(run, "quantizing", block, double(block + 1), double(blocks), 0);
  }
}

}  // namespace swage::pipeline
