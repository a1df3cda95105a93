// Prunes and quantizes linears, and puts in their place what the rest of the run computes with.
#pragma once
#include <future>
#include <map>
#include <string>
#include <vector>

#include "swage/format/quantized_weight.h"
#include "swage/model/block.h"
#include "swage/modifiers/sparsifier.h"
#include "swage/schedule/run.h"
#include "swage/schedule/stage_inputs.h"

namespace swage::pipeline {

// The rest of the run computes with the quantized weight: with its integer codes where it has such, else with their
// values.
void put_into(model::Linear& linear, const format::QuantizedWeight& weight);

class GroupSolver {
 public:
  GroupSolver(const Run& run, StageInputs& inputs) : run_(run), inputs_(inputs) {}

  // Those of the linears, which all read the same input, that the recipe prunes, or quantizes. `expert`: whose tokens
  // count, or -1.
  void prune(const std::vector<model::Linear*>& group, int expert);
  void quantize(const std::vector<model::Linear*>& group, int expert);
  // An embedding: it looks its input up, so that there are no statistics of that.
  void solve_lookup(model::Linear& embedding);

  // Divides the rows of a linear of this block by s_O, where it is solved and waits to be written; false if it is not.
  bool divide_waiting(const std::string& name, const at::Tensor& s_O);
  // Writes what waited for the end of the block, and the linears that stay float but were changed.
  void finish(const model::Block& block);
  // The same for an end of the model.
  void finish(const model::Linear& linear);

 private:
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

  void prune(const Sparsity::Choice& choice, const std::vector<model::Linear*>& linears, int expert);
  bool are_solved_alike(const model::Linear& a, const model::Linear& b) const;
  void quantize(const modifiers::Quantizer& quantizer, const std::vector<model::Linear*>& linears, int expert);
  void put(model::Linear& linear, modifiers::SolvedLinear solved, int64_t tokens);
  // Waits for what is packed and written beside the GPU's work, and notes it in order.
  void note_written();

  const Run& run_;
  StageInputs& inputs_;
  std::vector<Pending> pending_;
  std::vector<std::future<ModuleReport>> writing_;
  std::map<std::string, Pruned> pruned_;
  bool lookup_ = false;
};

}  // namespace swage::pipeline
