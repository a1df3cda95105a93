// What a pass measures for a bit budget: the errors of all candidates, and, for each unit, the predictions of the float
// model with one candidate of that unit in it. bit_sensitivity.h says what becomes of it.
#pragma once
#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "swage/modifiers/modifier.h"
#include "swage/resolve/bit_budget.h"
#include "swage/schedule/float_pass.h"
#include "swage/schedule/linear_input.h"
#include "swage/schedule/probe_store.h"

namespace swage::pipeline {

// Sequences that divergences are measured on.
inline constexpr int64_t kProbeRows = 4, kProbeTokens = 128;

class BitProbes {
 public:
  // `probed`: the candidate that is tried. All outlive this.
  BitProbes(const FloatPassJob& job, const Assignment& assignment, const std::vector<BudgetUnit>& units, size_t probed);

  // Embeds the first sequences; the model's ends must be loaded.
  void embed(const at::Tensor& ids_NL);
  // Takes up what an earlier process measured: the number of blocks, 0 if it does not fit.
  int64_t take_up(std::optional<MeasuredBlocks> kept);
  MeasuredBlocks kept(int64_t blocks) const { return {blocks, errors_, base_, streams_}; }

  // Nothing is measured yet of what the stage's linears read.
  void enter_stage() { measured_.shared = {}; }
  // Quantizes the group's linears with every candidate: errors, and the weights to try.
  void measure(const model::Block& block, const model::InputGroup& group, const Activations& activations);
  // Starts a probe for each unit of block b and takes the earlier ones through it.
  void probe(model::Block& block, int64_t b);
  // For each unit, nats a token. Loads the model's ends.
  void predict();

  // For each unit and candidate, a token.
  const std::vector<std::vector<double>>& errors() const { return errors_; }
  const std::vector<double>& divergences() const { return divergences_; }

 private:
  // Residual streams [T, D] of the sequences.
  using Streams = std::vector<at::Tensor>;

  Streams on_device(const Streams& streams) const;
  const modifiers::Statistics& statistics(const Activations& activations, const model::InputGroup& group,
                                          const model::Linear& first);
  void measure_linears(const model::Block& block, const std::vector<int>& linears,
                       const modifiers::Statistics& statistics);
  std::vector<double> compare(size_t sequence, int64_t first, int64_t count) const;

  // Of what the current stage reads.
  struct Measured {
    modifiers::Statistics shared = {}, routed = {};          // all tokens, and those of the expert at hand
    std::shared_ptr<const ops::Transform> shared_with = {};  // what the inputs of `shared` were multiplied with
    at::Tensor scratch = {};                                 // of ops::GramSum
  };

  const BitBudget& budget() const { return *assignment_.budget; }

  const FloatPassJob& job_;
  const Assignment& assignment_;
  const std::vector<BudgetUnit>& units_;
  const size_t probed_;
  std::map<std::string, size_t> unit_of_;
  std::vector<std::vector<double>> errors_;
  std::vector<double> divergences_;
  std::map<int, at::Tensor> probe_weights_;  // of the current block's linears
  Streams base_;                             // of the float model
  std::vector<Streams> streams_;             // by unit
  Measured measured_;
};

}  // namespace swage::pipeline
