// What a block of a program loads when it is made.
#include "swage/base/error.h"
#include "swage/model/program_block.h"
#include "swage/model/weight_loader.h"

namespace swage::model {

using namespace graph;
using scheme::TransformLocation;

namespace {

// Routers choose by what they read as it is.
void check_no_transforms(const LinearSpec& router, const checkpoint::WeightSource& weights) {
  const scheme::ModuleName name{router.name, "Router"};
  for (const TransformLocation location : {TransformLocation::Input, TransformLocation::Output}) {
    SWAGE_CHECK(!weights.transform(name, location, location == TransformLocation::Input ? router.columns : router.rows),
                Unsupported, "transform_config: ", router.name, ": transforms of routers are not supported");
  }
}

}  // namespace

ProgramBlock::ProgramBlock(const BlockProgram& program, const checkpoint::WeightSource& weights, RopeTables ropes)
    : program_(program),
      ropes_(std::move(ropes)),
      norms_(program.nodes.size()),
      xielu_forms_(program.nodes.size()) {
  for (size_t n = 0; n < program_.nodes.size(); ++n) load_node(n, weights);
  WeightLoader loader(weights);
  for (const LinearSpec& linear : program_.linears) linears.push_back(loader.load(linear));
  reschedule();
}

void ProgramBlock::load_node(size_t n, const checkpoint::WeightSource& weights) {
  const Node& node = program_.nodes[n];
  if (const auto* norm = std::get_if<NormNode>(&node)) norms_[n] = Norm(norm->norm, weights);
  if (const auto* factor = std::get_if<MultiplyNode>(&node))
    factors_.emplace(n, load_shaped(weights, factor->name, {factor->size}));
  if (const auto* convolution = std::get_if<ConvolutionNode>(&node))
    convolutions_.emplace(n, load_convolution(*convolution, weights));
  if (const auto* neighbours = std::get_if<NeighbourNode>(&node))
    neighbours_.emplace(n, load_neighbours(*neighbours, program_, weights));
  if (const auto* recurrence = std::get_if<RecurrenceNode>(&node)) {
    const int64_t gate = recurrence->gate < 0 ? 0 : program_.values[size_t(recurrence->gate)].width;
    recurrences_.emplace(n, load_recurrence(*recurrence, gate, weights));
  }
  const auto* activated = std::get_if<ActivateNode>(&node);
  if (activated != nullptr && !activated->parameters.empty())
    xielu_forms_[n] = load_xielu(activated->parameters, weights);
  if (const auto* attention = std::get_if<AttentionNode>(&node))
    heads_.emplace(n, load_heads(*attention, program_.values[kStream].width, weights));
  if (const auto* experts = std::get_if<ExpertsNode>(&node)) load_router(*experts, weights);
}

void ProgramBlock::load_router(const ExpertsNode& node, const checkpoint::WeightSource& weights) {
  check_no_transforms(node.router, weights);
  router_ = {load_shaped(weights, node.router.name + ".weight", {node.router.rows, node.router.columns}), {}, {}};
  if (node.router.bias) router_.bias_E = load_shaped(weights, node.router.name + ".bias", {node.router.rows});
  if (!node.weight_scale.empty()) router_.scale_E = load_shaped(weights, node.weight_scale, {node.router.rows});
  const std::vector<int64_t> row = {1, node.router.rows}, flat = {node.router.rows};
  if (!node.router_bias.empty())
    router_.choice_E = load_shaped(weights, node.router_bias, node.bias_is_row ? row : flat).view({-1});
}

}  // namespace swage::model
