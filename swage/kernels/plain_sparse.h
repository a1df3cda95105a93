// The scalar twins of the kernels that prune; plain.cpp has the others.
#pragma once
#include "swage/kernels/kernels.h"

namespace swage::kernels {

void prune_gather(const PrunePanel& panel);
void prune_panel(const PrunePanel& panel);
void sparse_refit_panel(const SparsePanel& panel);

}  // namespace swage::kernels
