#include "swage/graph/program.h"

namespace swage::graph {
namespace {

template <class... F>
struct Cases : F... {
  using F::operator()...;
};

template <class T>
const T* first_of(const std::vector<Node>& nodes) {
  for (const Node& node : nodes) {
    if (const T* found = std::get_if<T>(&node)) return found;
  }
  return nullptr;
}

}  // namespace

const AttentionNode* BlockProgram::attention() const { return first_of<AttentionNode>(nodes); }
const ExpertsNode* BlockProgram::experts() const { return first_of<ExpertsNode>(nodes); }

std::vector<Value> operands_of(const Node& node) {
  using Values = std::vector<Value>;
  return std::visit(Cases{[](const JoinNode& join) { return join.in; },
                          [](const AttentionNode& at) { return Values{at.query, at.key, at.value}; },
                          [](const GateNode& gated) { return Values{gated.gate, gated.up}; },
                          [](const AddNode& sum) { return Values{sum.in, kStream}; },
                          [](const auto& other) { return Values{other.in}; }},
                    node);
}

std::vector<Value> results_of(const Node& node) {
  using Values = std::vector<Value>;
  return std::visit(
      Cases{[](const SplitNode& split) { return split.out; }, [](const AddNode&) { return Values{kStream}; },
            [](const auto& other) { return Values{other.out}; }},
      node);
}

void keep_experts(BlockProgram& block, int64_t count) {
  std::vector<int> moved;  // index of each linear from now on
  int next = 0;
  for (const LinearSpec& linear : block.linears) moved.push_back(linear.expert < count ? next++ : -1);
  std::erase_if(block.linears, [&](const LinearSpec& linear) { return linear.expert >= count; });
  for (Node& node : block.nodes) {
    if (auto* linear = std::get_if<LinearNode>(&node)) linear->linear = moved[size_t(linear->linear)];
    auto* experts = std::get_if<ExpertsNode>(&node);
    if (experts == nullptr) continue;
    experts->experts.resize(size_t(count));
    experts->router.rows = count;
    for (Expert& expert : experts->experts) {
      for (int* linear : {&expert.gate, &expert.up, &expert.down}) *linear = moved[size_t(*linear)];
    }
  }
}

}  // namespace swage::graph
