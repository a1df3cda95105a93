// What a plan is made from: the shapes of the model and what the run will do with them.
#pragma once
#include <limits>
#include <set>
#include <string>

#include "swage/model/model.h"
#include "swage/modifiers/chain.h"
#include "swage/resolve/assignment.h"
#include "swage/resolve/sparsity.h"

namespace swage::pipeline {

// PlanInput::rows_in_memory of a run that puts none into a file.
inline constexpr int64_t kAllRows = std::numeric_limits<int64_t>::max();

struct PlanInput {
  const model::ModelShape& shape;
  const Assignment& assignment;
  const Sparsity& sparsity;
  const modifiers::Chain& chain;
  const model::ModelShape* whole = nullptr;  // of the source, if `shape` has fewer experts
  uint64_t source_bytes = 0, output_bytes = 0,
           copied_bytes = 0;          // tensor data; what is taken over as it is, or rotated
  uint64_t largest_copied_bytes = 0;  // one tensor of these
  double bytes_per_weight = 2;        // in the source
  int64_t rows = 0, row_tokens = 0;   // of calibration; 0 without
  bool moe_routed = false;
  bool keeps_activations = false;                                   // saves those of each layer, to be gone on from
  bool rotates = false;                                             // weights are turned as they are read
  std::set<std::string> rotated_inputs = {}, rotated_outputs = {};  // linears at which activations are turned
  int64_t check_tokens = 0;                                         // of the perplexity check; 0 without
  int threads = 1;
  double process_bytes = 0;           // before the work (plan/process_memory.h)
  double text_bytes = 0;              // that the process held at most while tokenizer and data set were read; measured
  int64_t rows_in_memory = kAllRows;  // activations of the others lie in a file
  bool may_offload = true;            // make_plan_within() may send them there
  bool on_device = false;             // a GPU takes weights, activations and Gram matrices; solvers stay on the host
};

}  // namespace swage::pipeline
