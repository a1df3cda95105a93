#include "swage/graph/mixture.h"

#include <algorithm>

namespace swage::graph {

std::optional<Mixture> mixture_of(const BlockProgram& block) {
  const ExpertsNode* node = block.experts();
  if (node == nullptr) return {};
  Mixture out{node->router, node->router_bias, node->bias_is_row, node->top_k, node->groups, {}, {}};
  for (const Expert& expert : node->experts) {
    auto& linears = out.experts.emplace_back();
    for (const int linear : expert.inputs()) linears.push_back(block.linears[size_t(linear)]);
    linears.push_back(block.linears[size_t(expert.down)]);
  }
  for (const LinearSpec& linear : out.experts.empty() ? std::vector<LinearSpec>() : out.experts[0]) {
    const auto same = [&](const auto& tensor) { return tensor.first == linear.stored.tensor; };
    if (!linear.stored.shared() || std::any_of(out.shared.begin(), out.shared.end(), same)) continue;
    out.shared.emplace_back(linear.stored.tensor, linear.stored.shape);
    if (linear.stored_bias.shared()) out.shared.emplace_back(linear.stored_bias.tensor, linear.stored_bias.shape);
  }
  if (!node->weight_scale.empty()) out.shared.emplace_back(node->weight_scale, std::vector<int64_t>{node->router.rows});
  return out;
}

}  // namespace swage::graph
