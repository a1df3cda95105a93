// The shares of sparsifiers that ask for OWL, found in a pass of the whole model over the calibration set before
// anything is pruned.
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/base/context.h"
#include "swage/checkpoint/weight_source.h"
#include "swage/model/model.h"
#include "swage/offload/rows.h"
#include "swage/resolve/sparsity.h"

namespace swage::pipeline {

bool needs_owl(const Sparsity& sparsity);
// Sets the sparsity of the modules in question, one for each block of the model. ids_NL: tokens, int64. `tiers` as in
// Activations.
void find_owl_shares(model::Model& model, const checkpoint::WeightSource& weights, const at::Tensor& ids_NL,
                     const Context& context, const offload::Tiers& tiers, Sparsity& sparsity);

}  // namespace swage::pipeline
