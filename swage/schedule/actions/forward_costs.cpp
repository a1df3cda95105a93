#include "swage/schedule/actions/forward_costs.h"

#include <algorithm>

namespace swage::pipeline::actions {
namespace {

using model::BlockShape, model::ModuleInfo, model::Stage;

constexpr double kLoadPasses = 3;      // over a block's float32 weights while they are read and converted
constexpr double kNormTensors = 2;     // of a row, while its norm is computed
constexpr double kScoresAtOnce = 256;  // rows of attention's scores, at once in a thread

// Bytes of a token in a thread; adds the work.
double cost_of_group(PassCosts& costs, const BlockShape& block, const Stage& stage, const model::InputGroup& group) {
  const double share = stage.expert >= 0 ? double(block.top_k) / double(block.experts) : 1;
  double rows = 0, columns = 0, turned = 0;
  for (const int index : group.linears) {
    const ModuleInfo& linear = block.linears[size_t(index)];
    rows += double(linear.rows) * (costs.in.rotated_outputs.contains(linear.name) ? 2 : 1);
    if (costs.in.rotated_inputs.contains(linear.name)) turned = kFloat * double(linear.columns);
    columns = double(linear.columns);
    const double flops = 2 * costs.tokens * share * double(linear.parameters());
    (costs.kept_as_integers(linear) ? costs.work().integer_flops : costs.work().linear_flops) += flops;
    if (costs.corrects()) costs.work().linear_flops += flops;
  }
  costs.work().moved_bytes += costs.streams() * kForwardPasses * kFloat * costs.tokens * (rows + columns);
  return kFloat * rows + kCode16 * columns + turned;
}

// Bytes of a thread; adds the work.
double cost_of_attention(PassCosts& costs, const BlockShape& block) {
  const double length = double(costs.in.row_tokens), query = double(block.query_size),
               keys = block.window > 0 ? std::min(length, double(block.window)) : length;
  costs.work().attention_flops += costs.streams() * 4 * costs.tokens * (keys / 2 + kScoresAtOnce / 4) * query;
  return kFloat * (length * query + kScoresAtOnce * length);
}

double largest_end(const model::ModelShape& shape) {
  double most = 0;
  for (const ModuleInfo& end : shape.ends) most = std::max(most, double(end.parameters()));
  return most;
}

}  // namespace

void cost_of_embedding(PassCosts& costs) {
  const double ends = bytes_of_ends(costs.in.shape),
               rows = costs.streams() * costs.tokens * kFloat * costs.hidden * share_in_memory(costs.in);
  // While the largest is converted, it is there in both types.
  costs.ledger.moment({{"embedding and head", ends},
                       {"pages of the source", costs.in.bytes_per_weight * largest_end(costs.in.shape), false}});
  costs.ledger.hold(Buffer::TokenIds, kDouble * costs.tokens);  // int64, as wide
  costs.ledger.hold(Buffer::Activations, rows);
  costs.ledger.moment({{"embedding and head", ends}});
  costs.work().read_bytes += uint64_t(ends / kFloat * costs.in.bytes_per_weight);
  costs.work().moved_bytes += 2 * ends + 2 * costs.tokens * kFloat * costs.hidden * share_in_memory(costs.in);
}

void cost_of_entering(PassCosts& costs, int64_t b) {
  const double parameters = double(costs.whole(b).parameters());
  const double each = kFloat + (costs.in.on_device ? kCode16 : 0);  // on a GPU also as products are made of them
  costs.ledger.hold(Buffer::Weights, each * parameters);
  costs.ledger.hold(Buffer::FloatWeights, costs.corrects() ? kFloat * parameters : 0);
  costs.enter_block(b);
  costs.ledger.moment(
      {{"forward pass", costs.forward_threads() * kNormTensors * kFloat * double(costs.in.row_tokens) * costs.hidden}});
  costs.work().moved_bytes += costs.streams() * kLoadPasses * kFloat * parameters;
  costs.work().read_bytes += uint64_t(costs.streams() * costs.in.bytes_per_weight * parameters);
}

void cost_of_step(PassCosts& costs, int64_t b, int64_t s) {
  const BlockShape& block = costs.block(b);
  const Stage& stage = block.stages[size_t(s)];
  double largest = 0;
  for (const model::InputGroup& group : stage.groups)
    largest = std::max(largest, cost_of_group(costs, block, stage, group));
  double a_thread = double(costs.in.row_tokens) * largest;
  if (stage.attends) a_thread += cost_of_attention(costs, block);
  const bool routes_next = size_t(s) + 1 < block.stages.size() && block.stages[size_t(s) + 1].routes;
  for (const ModuleInfo& router : block.routers) {
    if (routes_next) costs.work().linear_flops += 2 * costs.streams() * costs.tokens * double(router.parameters());
  }
  costs.ledger.moment({{"forward pass", costs.forward_threads() * a_thread}});
}

void cost_of_leaving(PassCosts& costs) {
  for (const Buffer buffer : {Buffer::Weights, Buffer::FloatWeights, Buffer::SolvedWeights})
    costs.ledger.hold(buffer, 0);
}

}  // namespace swage::pipeline::actions
