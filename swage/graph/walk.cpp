#include "swage/graph/walk.h"

#include <algorithm>
#include <numeric>

namespace swage::graph {
namespace {

bool holds(const std::vector<Value>& values, Value value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

RowSlice slice_of(const SplitNode& split, Value value) {
  const size_t part = size_t(std::find(split.out.begin(), split.out.end(), value) - split.out.begin());
  const auto begin = split.sizes.begin();
  return {split.groups, std::accumulate(begin, split.sizes.end(), int64_t{0}),
          std::accumulate(begin, begin + std::ptrdiff_t(part), int64_t{0}), split.sizes[part]};
}

}  // namespace

const Node* maker_of(const BlockProgram& block, Value value) {
  if (value == kStream) return nullptr;
  for (const Node& node : block.nodes) {
    if (holds(results_of(node), value)) return &node;
  }
  return nullptr;
}

std::vector<const Node*> readers_of(const BlockProgram& block, Value value) {
  std::vector<const Node*> out;
  for (const Node& node : block.nodes) {
    if (holds(operands_of(node), value)) out.push_back(&node);
  }
  return out;
}

bool read_once(const BlockProgram& block, Value value) { return readers_of(block, value).size() == 1; }

bool read_by_linears_alone(const BlockProgram& block, Value value) {
  const std::vector<const Node*> readers = readers_of(block, value);
  return std::all_of(readers.begin(), readers.end(), [](const Node* node) {
    return std::holds_alternative<LinearNode>(*node) || std::holds_alternative<ExpertsNode>(*node);
  });
}

bool only_added(const BlockProgram& block, Value value) {
  const std::vector<const Node*> readers = readers_of(block, value);
  return readers.size() == 1 && std::holds_alternative<AddNode>(*readers[0]);
}

std::optional<MadeBy> linear_of(const BlockProgram& block, Value value) {
  const Node* maker = maker_of(block, value);
  if (maker == nullptr) return {};
  if (const auto* linear = std::get_if<LinearNode>(maker)) return MadeBy{linear->linear, {}};
  const auto* split = std::get_if<SplitNode>(maker);
  if (split == nullptr || !read_once(block, split->in)) return {};
  const Node* before = maker_of(block, split->in);
  const auto* linear = before == nullptr ? nullptr : std::get_if<LinearNode>(before);
  if (linear == nullptr) return {};
  return MadeBy{linear->linear, slice_of(*split, value)};
}

}  // namespace swage::graph
