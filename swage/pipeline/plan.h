// What a run will do, known from shapes alone: sizes, memory, work. Printed before anything is computed.
#pragma once
#include <cstdint>
#include <string>

#include "swage/base/json.h"
#include "swage/pipeline/assignment.h"
#include "swage/pipeline/output.h"

namespace swage::pipeline {

struct Plan {
  int64_t rows = 0, row_tokens = 0;      // calibration; 0 without
  uint64_t source_bytes = 0, output_bytes = 0;
  int64_t quantized_modules = 0, quantized_parameters = 0;
  double bits_per_weight = 0;            // of the quantized modules, scales included
  double forward_flops = 0;              // 2 T P of the linears
  double gram_flops = 0;                 // T sum n^2 over the distinct inputs: half of the full products
  uint64_t activation_bytes = 0;         // at their largest
  uint64_t statistics_bytes = 0;         // Gram, factor and solver's copies of the widest input
  uint64_t block_bytes = 0;              // float32 weights of the largest block, and the ends while they are needed
  uint64_t peak_bytes = 0;               // estimate of the resident set

  // Error(InvalidArgument) saying the smallest budget that would do, and what would make it smaller, if the peak exceeds
  // `max_memory_bytes` (0: no limit). What the estimate leaves out is measured in docs/performance.md.
  void check_budget(uint64_t max_memory_bytes) const;
  Json to_json() const;
  std::string summary() const;           // one line for people
};

// `rows` and `row_tokens` are 0 for a run without calibration. `threads` run at once.
Plan make_plan(const checkpoint::Reader& reader, const model::Model& model, const Assignment& assignment, const OutputLayout& layout,
               int64_t rows, int64_t row_tokens, int threads);

}  // namespace swage::pipeline
