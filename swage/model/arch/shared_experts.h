// Mixtures as DeepSeek-V2 and V3 have them (arXiv:2412.19437), which others took over: routed experts out of the best
// groups, and shared ones for every token.
#pragma once
#include "swage/model/arch/parts.h"

namespace swage::model {

struct SharedExperts {
  graph::ExpertsNode rules;     // of the routed ones
  int64_t inner, shared_inner;  // of a routed expert; of all shared ones together, 0: none
  int64_t dense;                // layers before this one have an ordinary MLP
  graph::Activation activation;
};

// Routers that score by sigmoid have a correction of the choice, and groups are as good as their two best experts.
SharedExperts shared_experts(const ConfigFields& config, graph::RouterKind kind);
// The sum of what the shared and the routed experts make.
graph::Value experts_and_shared(graph::BlockBuilder& b, graph::Value x, const SharedExperts& mixture,
                                const checkpoint::WeightSource& weights);
// Adds the shared experts to the stream and returns what the routed ones make.
graph::Value add_experts(graph::BlockBuilder& b, graph::Value x, const SharedExperts& mixture,
                         const checkpoint::WeightSource& weights);

}  // namespace swage::model
