// What makes a run this run and no other: everything that its output depends on, by name. A journal begins with it, and
// only a run that has the same one goes on with that journal. docs/reliability.md lists what may change between the
// two.
#pragma once
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "swage/base/json.h"
#include "swage/io/tensor_spec.h"

namespace swage::pipeline {

// This build of swage, libtorch and the processor: what the arithmetic depends on.
Json program_identity();

// Digest of a tensor's bytes and shape, "none" if it is undefined; of names, types and shapes.
std::string digest_of(const at::Tensor& tensor);
std::string digest_of(const std::vector<io::TensorSpec>& tensors);

// What differs, in words: "seed (was 42, is 43), model.safetensors". Both are objects of values or of such objects.
// Empty if they are equal.
std::string difference(const Json& before, const Json& now);

}  // namespace swage::pipeline
