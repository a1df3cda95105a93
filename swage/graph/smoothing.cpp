#include "swage/graph/smoothing.h"

#include <algorithm>
#include <optional>

#include "swage/graph/schedule.h"
#include "swage/graph/walk.h"

namespace swage::graph {
namespace {

// Of the block's linears with these names, whether one is other blocks' too.
bool has_common(const BlockProgram& block, const std::vector<std::string>& names) {
  return std::any_of(block.linears.begin(), block.linears.end(), [&](const LinearSpec& linear) {
    return linear.common && std::find(names.begin(), names.end(), linear.name) != names.end();
  });
}

std::vector<std::string> consumers_of(const BlockProgram& block, Value value) {
  std::vector<std::string> out;
  for (const Node* node : readers_of(block, value)) {
    if (const auto* linear = std::get_if<LinearNode>(node)) out.push_back(block.linears[size_t(linear->linear)].name);
    const auto* experts = std::get_if<ExpertsNode>(node);
    if (experts == nullptr) continue;
    if (experts->router_in == value) out.push_back(experts->router.name);
    for (const Expert& expert : experts->experts) {
      for (const int linear : experts->in == value ? expert.inputs() : std::vector<int>())
        out.push_back(block.linears[size_t(linear)].name);
    }
  }
  return out;
}

// Whether what comes out of up comes out as it went in, but for factors.
bool is_product(const Gating& gating) { return gating.limit == 0 && gating.up_offset == 0; }

// The value whose numbers `node` hands on scaled as they came, -1 if there is none; what lies in between goes into
// `pair`.
Value scaled_through(const Node& node, SmoothingPair& pair) {
  if (const auto* attention = std::get_if<AttentionNode>(&node)) {
    pair.cached = true;
    pair.run = attention->value_size;
    pair.repeats = attention->heads / attention->kv_heads;
    return attention->value;
  }
  if (const auto* gated = std::get_if<GateNode>(&node)) return is_product(gated->gating) ? gated->up : -1;
  if (const auto* scaled = std::get_if<ScaleNode>(&node)) return scaled->in;
  if (const auto* scaled = std::get_if<PositionScaleNode>(&node)) return scaled->in;
  const auto* activated = std::get_if<ActivateNode>(&node);
  return activated != nullptr && activated->activation == Activation::Relu ? activated->in : -1;
}

bool takes_norm(const BlockProgram& block, const NormNode& node, SmoothingPair& pair) {
  const NormSpec& norm = node.norm;
  if (!norm.weight || norm.bare || norm.greek || norm.heads > 0 || norm.size != block.values[size_t(node.out)].width)
    return false;
  pair.producer = norm.name;
  pair.norm = true;
  pair.bias = norm.bias;
  pair.offset = norm.offset;
  return true;
}

// Goes back from what linears read to what can be divided for it.
std::optional<SmoothingPair> pair_before(const BlockProgram& block, Value input) {
  if (input == kStream || !read_by_linears_alone(block, input)) return {};
  SmoothingPair pair;
  for (Value value = input; value > kStream;) {
    if (value != input && !read_once(block, value)) return {};
    if (const std::optional<MadeBy> made = linear_of(block, value)) {
      const LinearSpec& linear = block.linears[size_t(made->linear)];
      pair.producer = linear.name;
      pair.bias = linear.bias;
      pair.rows = made->rows;
      pair.producer_rows = linear.rows;
      break;
    }
    const Node* maker = maker_of(block, value);
    const auto* norm = std::get_if<NormNode>(maker);
    if (norm != nullptr && value == input && takes_norm(block, *norm, pair)) break;
    value = scaled_through(*maker, pair);
  }
  if (pair.producer.empty()) return {};
  pair.consumers = consumers_of(block, input);
  if (has_common(block, pair.consumers) || has_common(block, {pair.producer})) return {};
  return pair;
}

void add_pairs_within(const BlockProgram& block, const ExpertsNode& experts, std::vector<SmoothingPair>& out) {
  if (!is_product(experts.gating)) return;
  for (const Expert& expert : experts.experts) {
    if (expert.gate < 0 && experts.gating.activation != Activation::Relu) continue;
    const LinearSpec &up = block.linears[size_t(expert.up)], &down = block.linears[size_t(expert.down)];
    out.push_back({.producer = up.name, .bias = up.bias, .consumers = {down.name}, .producer_rows = up.rows});
  }
}

}  // namespace

std::vector<SmoothingPair> smoothing_pairs(const BlockProgram& block) {
  std::vector<SmoothingPair> out;
  for (const Stage& stage : schedule_of(block).stages) {
    if (stage.expert >= 0) continue;
    if (auto pair = pair_before(block, stage.input)) out.push_back(std::move(*pair));
  }
  if (const ExpertsNode* experts = block.experts()) add_pairs_within(block, *experts, out);
  return out;
}

}  // namespace swage::graph
