// Mixture of experts of a block by the names of its parts: what taking experts out needs to know.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "swage/graph/program.h"

namespace swage::graph {

struct Mixture {
  LinearSpec router;
  std::string router_bias;   // tensor with a number for each expert; empty: none
  bool bias_is_row = false;  // it is [1, experts]
  int64_t top_k = 0;
  int64_t groups = 1;                            // out of the best of which experts are chosen
  std::vector<std::vector<LinearSpec>> experts;  // gate (if there is one), up and down of each
  std::vector<std::pair<std::string, std::vector<int64_t>>>
      shared;  // tensors that hold all experts along their first dimension, and their shapes; empty: one by one
};

std::optional<Mixture> mixture_of(const BlockProgram& block);

}  // namespace swage::graph
