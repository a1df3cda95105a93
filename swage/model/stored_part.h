// A linear's weight or bias out of a tensor that holds those of several.
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/graph/parameters.h"

namespace swage::model {

// A view [rows, columns] of `whole`: a matrix, or [E, ...] of one matrix for each expert.
at::Tensor weight_part(const graph::Stored& stored, int64_t rows, const at::Tensor& whole);
// The same of a bias: [rows] of `whole` [E, ...].
at::Tensor bias_part(const graph::Stored& stored, int64_t rows, const at::Tensor& whole);

}  // namespace swage::model
