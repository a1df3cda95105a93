// REAP: which experts of a mixture matter least. Lasby et al. 2025, arXiv:2510.13999: the saliency of an expert is the
// mean, over the tokens that are routed to it, of the router's weight times the norm of the expert's output. T tokens,
// D hidden size.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace swage::solvers {

// sum_t gate_t * ||output_t||_2, in f64: the gates (T numbers, f32) weight an expert's outputs [T, D], f32, of the
// tokens routed to it.
double weighted_norm_sum(const at::Tensor& gate_T, const at::Tensor& output_TD);

// Sums over tokens and their numbers, for each expert -> the means; 0 for an expert that no token was routed to.
// Error(InvalidArgument) if the two are not of one length.
std::vector<double> mean_saliency(const std::vector<double>& sums, const std::vector<int64_t>& tokens);

// The numbers of the experts that stay when the `drop` with the least saliency go, ascending; of equals the first go.
// Error(InvalidArgument) if `drop` is negative or none would stay.
std::vector<int64_t> most_salient(const std::vector<double>& saliency, int64_t drop);

}  // namespace swage::solvers
