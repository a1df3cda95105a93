// The nonlinearity between the linears of an MLP.
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/graph/program.h"

namespace swage::model {

// activation(x), in place.
void activate_(at::Tensor& x, graph::Activation activation);
// activation(gate) * up, in `gate`'s memory.
void activate_gated_(at::Tensor& gate, const at::Tensor& up, graph::Activation activation);

}  // namespace swage::model
