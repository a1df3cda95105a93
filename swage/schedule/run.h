// What the two ways of running share: the model, where its weights come from, what is to be done, where it goes.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "swage/base/context.h"
#include "swage/checkpoint/reader.h"
#include "swage/checkpoint/weight_source.h"
#include "swage/checkpoint/writer.h"
#include "swage/job/memory_guard.h"
#include "swage/job/run_progress.h"
#include "swage/job/steps.h"
#include "swage/model/model.h"
#include "swage/modifiers/modifier.h"
#include "swage/report/report.h"
#include "swage/resolve/assignment.h"
#include "swage/resolve/rescaling.h"
#include "swage/resolve/sparsity.h"
#include "swage/views/pruned_experts.h"
#include "swage/views/rotated_weights.h"

namespace swage::pipeline {

struct Run {
  const Context& context;
  const checkpoint::Reader& reader;
  const checkpoint::WeightSource& weights;
  model::Model& model;
  const Assignment& assignment;
  const Rescalings& rescalings;
  const Sparsity& sparsity;
  checkpoint::Writer& writer;
  StageClock& clock;
  std::vector<ModuleReport>& modules;
  Steps& steps;
  MemoryGuard& memory;
  const RotatedWeights* rotated =
      nullptr;  // what `weights` is, if rotations are folded into it: tensors of `reader` are not the model's then
  PrunedExperts* experts = nullptr;       // the same, if experts go
  const RunProgress* progress = nullptr;  // what makes the time of a stage that of the run
};

// Writes a solved linear; what there is to say of it. Thread-safe.
ModuleReport write_module(const Run& run, const std::string& name, const modifiers::SolvedLinear& solved,
                          int64_t tokens);
// Adds it to the run's report, and logs its warnings.
void note_module(const Run& run, ModuleReport report);
// Both, by one thread.
void finish_module(const Run& run, const std::string& name, const modifiers::SolvedLinear& solved, int64_t tokens);

// The element type of a weight in the source, by the tensor that holds it.
at::ScalarType stored_type(const Run& run, const std::string& tensor);
// Writes a tensor of the source that was changed, in its type there.
void put_rewritten(const Run& run, const std::string& name, const at::Tensor& value);

// Gives the pages of a block's tensors back, of those that the source has under their names.
void drop_block(const checkpoint::Reader& reader, const model::Model& model, int64_t block);

// A module's weight as an earlier run wrote it. Error(CorruptData) if it is not what was solved then.
format::QuantizedWeight read_module(const Run& run, const std::string& name);
// The same for a weight that was pruned and stays dense, in its stored type.
at::Tensor read_pruned(const Run& run, const std::string& name);
// How its input is quantized, with the scales that were written.
std::optional<model::ActivationQuantization> read_input(const Run& run, const std::string& name);

// The same for a linear that was pruned and stays dense: `stored` is its weight in the source's type, written already.
void finish_pruned(const Run& run, const std::string& name, const modifiers::SparsifiedLinear& pruned,
                   const at::Tensor& stored, int64_t tokens);

// A pass over the layers, of which the context is told.
struct Pass {
  std::string stage;         // what it is called: "calibrating"
  std::string planned;       // its name in the plan
  double began_seconds = 0;  // of the run's clock
  double first = 0;          // layers that an earlier run had finished
  int64_t tokens = 0;        // that go through every layer; 0: not counted
};

// Tells the context where the run stands: in `layer`, `done` layers of the pass being done, also in part.
// `first_module` is the first of the run's modules that belongs to the layer.
void tell_progress(const Run& run, const Pass& pass, int64_t layer, double done, size_t first_module, bool milestone);

}  // namespace swage::pipeline
