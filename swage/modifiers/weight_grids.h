// The grids of the weights of one call of a quantizer: made by the observers that their schemes name, else by the
// quantizer's own search.
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "swage/modifiers/by_bits.h"
#include "swage/modifiers/modifier.h"
#include "swage/observers/observer.h"
#include "swage/solvers/grid.h"

namespace swage::modifiers {

// How a config wants scales chosen: by a search, but where that was not asked for by the observer of the scheme, if it
// names one.
struct ScaleChoice {
  // For weights in `args`. Norm, unless given: 2.4; of a search by inputs 2, but 2.4 for grids of up to 3 bits, whose
  // clipped values lie far off.
  solvers::ScaleSearch search_for(const scheme::QuantizationArgs& args) const;

  solvers::ScaleSearch::Kind kind = solvers::ScaleSearch::Kind::PNorm;
  ByBits norm;
  bool by_inputs =
      false;  // the errors of a column count as much as the mean square of its input, where inputs are known
  bool asked = false;
};
// `name` as a recipe gives it: "absmax", "pnorm" or "imatrix"; unset: `otherwise`.
// Error(InvalidArgument) naming `source` for another name and for a norm that makes no sense.
ScaleChoice scale_choice(const std::optional<std::string>& name, const std::string& otherwise, const Json& norm,
                         const std::string& source);
// The name of the search, and its norm for weights of these widths (null: the search has none), as a recipe spells them
// out.
std::string name_of(const ScaleChoice& choice);
Json norm_of(const ScaleChoice& choice, const std::set<int>& widths);

// Whether the observers that a recipe's fields name for weights want to know the inputs (imatrix_mse).
bool names_importance_observer(const QuantizationFields& fields);

class WeightGrids {
 public:
  // Looks at all weights. `tasks` must outlive this. Linears of one global scale (NVFP4) take it from the largest of
  // their ranges, unless it is given. An imatrix observer weighs columns by the diagonal of the statistics' Gram
  // matrix; Error(InvalidArgument) naming the task if there is none.
  WeightGrids(std::span<const LinearTask> tasks, const ScaleChoice& choice, const Statistics& statistics);

  // The grid of tasks[index]. `g_idx_I` (find_grid()) goes with ranges and searches, Error(Unsupported) with other
  // observers.
  solvers::Grid grid(size_t index, const at::Tensor& g_idx_I = {}) const;

 private:
  std::span<const LinearTask> tasks_;
  std::vector<solvers::ScaleSearch> searches_;
  std::vector<std::unique_ptr<observers::Observer>> observers_;  // null: the search
  at::Tensor global_scale_;
};

}  // namespace swage::modifiers
