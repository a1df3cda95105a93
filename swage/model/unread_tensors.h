// Tensors of a checkpoint that the model its config describes has no use for: layers beyond their number, a second
// head, an adapter.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "swage/io/tensor_spec.h"
#include "swage/model/model.h"

namespace swage::model {

// Their names, sorted as `stored` is. Tensors that `is_known` are left out, as are buffers that transformers once
// stored and computes now.
std::vector<std::string> unread_tensors(const Model& model, const std::vector<io::TensorSpec>& stored,
                                        const std::function<bool(const std::string&)>& is_known);

// A sentence that names some of them; empty for none.
std::string unread_warning(const std::vector<std::string>& names);

}  // namespace swage::model
