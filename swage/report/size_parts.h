// What share of an output its parts have: embeddings, head, attention, MLP, experts, norms.
#pragma once
#include <vector>

#include "swage/base/json.h"
#include "swage/io/tensor_spec.h"

namespace swage::pipeline {

// [{"part": "mlp", "bytes": 1024}, ...], told by the names of the tensors, in the order in which the parts run; their
// sum is that of the tensors.
Json size_parts(const std::vector<io::TensorSpec>& tensors);

}  // namespace swage::pipeline
