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
bool BlockProgram::has_state() const {
  return first_of<ConvolutionNode>(nodes) != nullptr || first_of<RecurrenceNode>(nodes) != nullptr;
}

std::vector<Value> operands_of(const Node& node) {
  using Values = std::vector<Value>;
  return std::visit(Cases{[](const JoinNode& join) { return join.in; }, [](const SumNode& sum) { return sum.in; },
                          [](const AttentionNode& at) {
                            if (at.index_count == 0) return Values{at.query, at.key, at.value};
                            return Values{at.query, at.key, at.value, at.index_query, at.index_key, at.index_weights};
                          },
                          [](const RecurrenceNode& rec) {
                            Values out{rec.query, rec.key, rec.value};
                            for (const Value more : {rec.gate, rec.beta})
                              if (more >= 0) out.push_back(more);
                            return out;
                          },
                          [](const SourceNode&) { return Values{kStream}; },
                          [](const GateNode& gated) { return Values{gated.gate, gated.up}; },
                          [](const MatchNode& match) { return Values{match.in, match.like}; },
                          [](const AddNode& sum) { return Values{sum.in, kStream}; },
                          [](const WriteNode& write) { return Values{write.in, kStream}; },
                          [](const ExpertsNode& experts) { return Values{experts.in, experts.router_in}; },
                          [](const auto& other) { return Values{other.in}; }},
                    node);
}

std::vector<Value> results_of(const Node& node) {
  using Values = std::vector<Value>;
  return std::visit(
      Cases{[](const SplitNode& split) { return split.out; }, [](const AddNode&) { return Values{kStream}; },
            [](const WriteNode&) { return Values{kStream}; }, [](const auto& other) { return Values{other.out}; }},
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
      for (int* linear : {&expert.gate, &expert.up, &expert.down}) *linear = *linear < 0 ? -1 : moved[size_t(*linear)];
    }
  }
}

}  // namespace swage::graph
