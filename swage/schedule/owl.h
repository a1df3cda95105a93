// The shares of sparsifiers that ask for OWL, found in a pass of the whole model over the calibration set before
// anything is pruned.
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

#include "swage/resolve/sparsity.h"
#include "swage/schedule/float_pass.h"
#include "swage/schedule/linear_input.h"
#include "swage/solvers/owl.h"

namespace swage::pipeline {

bool needs_owl(const Sparsity& sparsity);

// Counts the outliers of each block, among the weights that one sparsifier prunes.
class OutlierCounts {
 public:
  OutlierCounts(const Sparsity& sparsity, const modifiers::Sparsifier& by) : sparsity_(sparsity), by_(by) {}

  // Norms of what the stage's linears read, for those that are pruned.
  void measure(const model::Block& block, const model::Stage& stage, const Activations& activations);
  // Of the block, whose stages are measured; they are forgotten.
  void count();
  // Percent by block; -1 where nothing is pruned.
  const std::vector<double>& percents() const { return percents_; }

 private:
  const Sparsity& sparsity_;
  const modifiers::Sparsifier& by_;
  std::vector<solvers::OwlLinear> layer_;
  std::vector<double> percents_;
};

// The pass for one of them, and those of all.
FloatSchedule owl_schedule(const PlanInput& input, const modifiers::Sparsifier& by);
PlanStage plan_owl(const PlanInput& input);
// Sets the sparsity of the modules in question, one for each block of the model. ids_NL: tokens, int64.
void find_owl_shares(const FloatPassJob& job, const at::Tensor& ids_NL, Sparsity& sparsity);

namespace actions {

// Of layer b; s counts its stages.
FloatActionPtr measure_norms(std::string at, int64_t b, int64_t s);
FloatActionPtr count_outliers(std::string at, int64_t b);

}  // namespace actions

}  // namespace swage::pipeline
