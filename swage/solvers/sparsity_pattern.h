// Which share of a weight becomes zero, and in which pattern.
#pragma once
#include <cstdint>

namespace swage::solvers {

struct SparsityPattern {
  double sparsity = 0.5;  // share of zeros, 0 <= sparsity < 1; with groups it is dropped / group
  int64_t dropped = 0;    // N zeros in every M consecutive columns of a row ("N:M" as LLM Compressor counts)
  int64_t group = 0;      // M; 0: unstructured
  bool grouped() const { return group > 0; }
};

}  // namespace swage::solvers
