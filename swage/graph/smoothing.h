// Which layers of a block can trade magnitude: dividing a layer's outputs by s > 0 and multiplying the columns of the
// linears that read them by s leaves the function as it is. What SmoothQuant (Xiao et al. 2023, arXiv:2211.10438) and
// AWQ (Lin et al. 2024, arXiv:2306.00978) need to know of an architecture.
#pragma once
#include <string>
#include <vector>

#include "swage/graph/program.h"

namespace swage::graph {

struct SmoothingPair {
  std::string producer = {};  // a norm or a linear: its tensors are producer.weight and, with `bias`, producer.bias
  bool norm = false, bias = false;
  double offset = 0;                        // of a norm: what is divided is weight + offset
  bool cached = false;                      // the KV cache holds what it makes
  std::vector<std::string> consumers = {};  // every linear that reads what it makes, routers too
  // Grouped queries: the producer's outputs come in runs of `run` numbers, each read `repeats` times in a row by the
  // consumers.
  int64_t run = 1, repeats = 1;
  RowSlice rows = {};  // of a linear, that make them; it has producer_rows
  int64_t producer_rows = 0;
};

// In the order in which a forward pass reaches the consumers. Only pairs with nothing but products and ReLU in between:
// a norm and the linears on it, values and attention output, up and down projection if the MLP is gated or has a ReLU;
// and only where nothing else reads what the producer makes.
std::vector<SmoothingPair> smoothing_pairs(const BlockProgram& block);

}  // namespace swage::graph
