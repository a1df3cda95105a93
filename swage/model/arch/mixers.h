// What stands for attention where tokens leave a state behind: state spaces and gated delta nets.
#pragma once
#include <string>

#include "swage/model/arch/parts.h"

namespace swage::model {

// Mamba (arXiv:2312.00752): a state of `state` numbers for each of `inner` channels.
struct MambaSizes {
  int64_t inner, state, kernel, rank;
  bool bias, conv_bias;
  graph::Activation activation;
  enum class Norms { None, Weightless, Weighted } norms = Norms::None;  // of steps, and what writes and reads the state
  double epsilon = 1e-6;                                                // theirs
};
graph::Value mamba_mixer(graph::BlockBuilder& b, graph::Value x, const std::string& module, const MambaSizes& sizes);

// Mamba 2 (arXiv:2405.21060): a state [state, head_size] for each head.
struct Mamba2Sizes {
  int64_t heads, head_size, state, groups, kernel;
  bool bias, conv_bias, output_bias;
  graph::Activation activation;
  double most_step = 0, least_step = 0;  // most_step 0: no bound
  double epsilon;
  enum class Norm { BehindGate, BeforeGate, None } norm = Norm::BehindGate;
  int64_t norm_groups = 1;  // numbers are normed in so many runs
  double input_scale = 1, output_scale = 1;
  double scales[5] = {1, 1, 1, 1, 1};  // of gate, values, keys, queries, steps
};
// Sizes under the names that hybrids of transformers share (mamba_n_heads and so on).
Mamba2Sizes mamba2_sizes(const ConfigFields& config, double epsilon);
// Sets the bounds that time_step_limit says.
void read_step_limit(const ConfigFields& config, Mamba2Sizes& sizes);
graph::Value mamba2_mixer(graph::BlockBuilder& b, graph::Value x, const std::string& module, const Mamba2Sizes& sizes);

// Gated delta net (arXiv:2412.06464): its queries, keys and values are convolved before.
struct DeltaSizes {
  int64_t key_heads, value_heads, key_size, value_size, kernel;
  double epsilon;
  graph::Activation activation;

  int64_t keys() const { return key_heads * key_size; }
  int64_t values() const { return value_heads * value_size; }
};
DeltaSizes delta_sizes(const ConfigFields& config);
// The rule itself, from what was convolved [queries, keys, values] on, without output projection.
struct DeltaParts {
  graph::Value mixed, gate, beta, output_gate;
  double beta_factor = 1;
  std::string norm = "norm";
  double norm_epsilon = 1e-6;
  graph::Activation output_activation = graph::Activation::Silu;
  std::vector<int64_t> rates_shape = {};  // empty: [heads]
};
graph::Value delta_rule(graph::BlockBuilder& b, const std::string& module, const DeltaSizes& sizes,
                        const DeltaParts& parts);

}  // namespace swage::model
