// The nonlinearity between the linears of an MLP.
#pragma once
#include <ATen/core/Tensor.h>

#include <string>

#include "swage/checkpoint/weight_source.h"
#include "swage/graph/program.h"

namespace swage::model {

// activation(x), in place.
void activate_(at::Tensor& x, graph::Activation activation);
// activation(gate) * up as `gating` says, in `gate`'s memory.
void activate_gated_(at::Tensor& gate, const at::Tensor& up, const graph::Gating& gating);

// The numbers of one xIELU (arXiv:2411.13010).
struct XieluForm {
  double alpha_p = 0, alpha_n = 0;  // as they act: softplus of what is stored, alpha_n with beta on it
  double beta = 0, epsilon = 0;
};
// Of tensors `module`.alpha_p, alpha_n [1], beta and eps []. Error(CorruptData) if one is absent.
XieluForm load_xielu(const std::string& module, const checkpoint::WeightSource& weights);
void xielu_(at::Tensor& x, const XieluForm& form);

}  // namespace swage::model
