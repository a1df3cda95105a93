#include "swage/graph/mixture.h"

#include <algorithm>

namespace swage::graph {

std::optional<Mixture> mixture_of(const BlockProgram& block) {
  const ExpertsNode* node = block.experts();
  if (node == nullptr) return {};
  Mixture out{node->router, node->router_bias, node->top_k, node->groups, {}, {}};
  for (const Expert& expert : node->experts) {
    auto& linears = out.experts.emplace_back();
    for (const int linear : {expert.gate, expert.up, expert.down}) linears.push_back(block.linears[size_t(linear)]);
  }
  for (const LinearSpec& linear : out.experts.empty() ? std::vector<LinearSpec>() : out.experts[0]) {
    const auto same = [&](const auto& tensor) { return tensor.first == linear.stored.tensor; };
    if (!linear.stored.shared() || std::any_of(out.shared.begin(), out.shared.end(), same)) continue;
    out.shared.emplace_back(linear.stored.tensor, linear.stored.shape);
  }
  return out;
}

}  // namespace swage::graph
