// OWL: shares of zeros by layer, fewer where a layer has more outliers. Yin et al. 2023, arXiv:2310.05175, as LLM
// Compressor has it. O output rows, I input columns.
#pragma once
#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

namespace swage::solvers {

// One linear of a layer: its weight and the size of its input's columns, any positive multiple that is the same for the
// whole layer.
struct OwlLinear {
  at::Tensor w_OI;    // f32
  at::Tensor norm_I;  // f32
};

// Percent of the |w| * norm of a layer that exceed `m` times their mean.
double outlier_percent(std::span<const OwlLinear> layer, double m);

// Share of each layer: sparsity - (r - mean(r)), r the percents stretched to 0 .. 2 * lambda. Error(InvalidArgument) if
// one would lie outside of [0, 1).
std::vector<double> owl_shares(const std::vector<double>& outlier_percents, double sparsity, double lambda);

}  // namespace swage::solvers
