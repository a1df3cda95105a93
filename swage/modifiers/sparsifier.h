// Modifiers that prune: they set weights to zero before anything is rounded, and may change those that stay.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "swage/modifiers/modifier.h"
#include "swage/solvers/sparsity_pattern.h"

namespace swage::modifiers {

// Which modules are pruned, and how far.
struct SparsityRules {
  std::vector<std::string> targets, ignore;
  solvers::SparsityPattern pattern;
  std::vector<double>
      of_modules;  // one share for each pruned module, in the model's order; empty: the pattern's for all
  double owl_m = 0, owl_lambda = 0;  // outlier-weighed shares, arXiv:2310.05175; owl_m 0: none
  bool keeps_weights = false;        // nothing is pruned that is not zero already
};

// Error(InvalidArgument) naming `source` and the field for values that make no sense.
SparsityRules parse_rules(const SparsityFields& fields, const std::string& source);
// "2:4", "0:0" and "unstructured" as a pattern; `sparsity` where unstructured. Error(InvalidArgument) naming `source`.
solvers::SparsityPattern parse_mask_structure(const std::string& text, double sparsity, const std::string& source);
// "2:4", "50%": for reports.
std::string describe(const solvers::SparsityPattern& pattern);

struct SparsifiedLinear {
  at::Tensor weight_OI;       // f32 on the CPU, with its zeros
  double sparsity = 0;        // share of zeros
  double relative_error = 0;  // as of SolvedLinear
  double loss = 0;
  std::vector<std::string> warnings;
};

class Sparsifier : public Modifier {
 public:
  virtual const SparsityRules& rules() const = 0;
  // Same order as `tasks`, which all read the input that `statistics` describes and may have no scheme. `pattern`: that
  // of the rules, or the share that these tasks got in its place.
  virtual std::vector<SparsifiedLinear> sparsify(std::span<const LinearTask> tasks, const Statistics& statistics,
                                                 const solvers::SparsityPattern& pattern) const = 0;
};

// The weight with a mask (bool [O, I], true: kept) on it, and its error: that of the outputs with statistics, else that
// of the weight.
SparsifiedLinear masked(const at::Tensor& w_OI, const at::Tensor& keep_OI, const Statistics& statistics);
// The pruned weight with the error tr(dW H dW^T) that is known.
SparsifiedLinear with_error(const at::Tensor& w_OI, at::Tensor q_OI, double error, double whole, int64_t tokens);
// The errors of pruning and of rounding what it left, together: nearly orthogonal, where the kept weights are fitted to
// the first.
void add_pruning(const SparsifiedLinear& pruned, SolvedLinear& solved);

}  // namespace swage::modifiers
