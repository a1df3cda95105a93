// Which option each unit takes, so that all together fit into a budget at the least cost: the multiple-choice knapsack
// problem. Solved exactly by a table of undominated partial choices (Kellerer, Pferschy and Pisinger, Knapsack
// Problems, 2004, section 11.5), pruned with the Lagrangian bound.
#pragma once
#include <cstdint>
#include <vector>

namespace swage::solvers {

struct BitOption {
  int64_t bytes = 0;
  double cost = 0;  // any finite number; of the same unit's options
};

struct BitAllocation {
  std::vector<int> chosen;  // an option for each unit
  int64_t bytes = 0;
  double cost = 0;
  double bound = 0;     // no choice within the budget costs less
  bool optimal = true;  // no choice costs less than this one; false if the table had to be cut
};

struct BitAllocationOptions {
  int64_t most_states =
      50000;  // of the table, for one unit: what bounds time and memory, so that the result depends on no clock
};

// The cheapest choice of at most `budget_bytes`; of equally cheap ones always the same. Error(InvalidArgument) if a
// unit has no option, an option is not finite or of negative size, or the smallest options exceed the budget.
BitAllocation allocate_bits(const std::vector<std::vector<BitOption>>& units, int64_t budget_bytes,
                            const BitAllocationOptions& options = {});

}  // namespace swage::solvers
