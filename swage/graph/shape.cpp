#include "swage/graph/shape.h"

#include <algorithm>
#include <set>

#include "swage/base/error.h"
#include "swage/graph/walk.h"

namespace swage::graph {
namespace {

int64_t count_of(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

void visit_bias(const LinearSpec& linear, std::set<std::string>& shared, const TensorVisitor& visit) {
  if (linear.stored_bias.shared()) {
    if (shared.insert(linear.stored_bias.tensor).second) visit(linear.stored_bias.tensor, linear.stored_bias.shape);
  } else if (linear.bias) {
    visit(linear.name + ".bias", {linear.rows});
  }
}

void visit_linear(const LinearSpec& linear, std::set<std::string>& shared, const TensorVisitor& visit) {
  if (linear.stored.shared()) {
    if (shared.insert(linear.stored.tensor).second) visit(linear.stored.tensor, linear.stored.shape);
  } else if (linear.stored.transposed) {
    visit(linear.tensor(), {linear.columns, linear.rows});
  } else {
    visit(linear.tensor(), {linear.rows, linear.columns});
  }
  visit_bias(linear, shared, visit);
}

void visit_norm(const NormSpec& norm, const TensorVisitor& visit) {
  for (int64_t head = 0; norm.apart && head < norm.heads; ++head)
    visit(cat(norm.name, ".", head, ".weight"), {norm.size});
  if (norm.weight && !norm.apart) visit(norm.tensor(), norm.shape());
  if (norm.bias) visit(norm.bias_tensor(), norm.shape());
}

void visit_convolution(const ConvolutionNode& node, const TensorVisitor& visit) {
  for (const ConvolutionNode::Part& part : node.parts) {
    visit(part.name + ".weight", {part.channels, 1, node.kernel});
    if (node.bias) visit(part.name + ".bias", {part.channels});
  }
}

void visit_recurrence(const BlockProgram& block, const RecurrenceNode& node, const TensorVisitor& visit) {
  if (!node.rates.empty()) visit(node.rates, node.rates_shape);
  if (!node.gate_bias.empty()) visit(node.gate_bias, {block.values[size_t(node.gate)].width});
  if (!node.skip.empty()) visit(node.skip, {node.heads});
}

void visit_embedding(const EmbeddingSpec& embedding, const TensorVisitor& visit) {
  visit(embedding.name + ".weight", {embedding.rows, embedding.columns});
}

ModuleInfo module_of(const LinearSpec& linear, int block, bool quantizable = true) {
  return {linear.name, "Linear",      linear.rows,   linear.columns,    block, quantizable && !linear.keeps_float,
          linear.role, linear.stored, linear.expert, linear.stored_bias};
}

ModuleInfo module_of(const EmbeddingSpec& embedding, Role role) {
  return {
      embedding.name, "Embedding", embedding.rows, embedding.columns, -1, role == Role::Embedding, role, {}, -1, {}};
}

std::vector<ModuleInfo> ends_of(const ModelProgram& model) {
  std::vector<ModuleInfo> out = {module_of(model.embedding, Role::Embedding)};
  if (model.positions) out.push_back(module_of(*model.positions, Role::Positions));
  if (model.token_types) out.push_back(module_of(*model.token_types, Role::Positions));
  if (model.second_embedding) out.push_back(module_of(*model.second_embedding, Role::Positions));
  if (model.target && model.target->positions) out.push_back(module_of(*model.target->positions, Role::Positions));
  for (const auto* part : {&model.prologue, &model.epilogue, &model.head_transform}) {
    for (const LinearSpec& linear : *part ? (*part)->linears : std::vector<LinearSpec>())
      out.push_back(module_of(linear, -1));
  }
  if (model.project_out) out.push_back(module_of(*model.project_out, -1));
  if (model.project_in) out.push_back(module_of(*model.project_in, -1));
  if (model.head.rows > 0) out.push_back(module_of(model.head, -1));
  return out;
}

// Those that project embeddings of distances for themselves: they read no token and stay float.
void add_position_linears(const AttentionNode& attention, int block, std::vector<ModuleInfo>& out) {
  if (!attention.disentangled) return;
  for (const auto* linear : {&attention.disentangled->own_query, &attention.disentangled->own_key}) {
    if (*linear) out.push_back(module_of(**linear, block, false));
  }
}

BlockShape shape_of(const BlockProgram& block, int index) {
  BlockShape out;
  visit_tensors(
      block, [&](const std::string&, const std::vector<int64_t>& shape) { out.other_parameters += count_of(shape); });
  for (const LinearSpec& linear : block.linears) out.linears.push_back(module_of(linear, index));
  Schedule schedule = schedule_of(block);
  out.stages = std::move(schedule.stages);
  out.kept_width = schedule.kept_width;
  out.norms = std::count_if(block.nodes.begin(), block.nodes.end(),
                            [](const Node& node) { return std::holds_alternative<NormNode>(node); });
  if (const AttentionNode* attention = block.attention()) {
    out.heads = attention->heads;
    out.query_size = attention->heads * attention->head_size;
    out.window = attention->window;
    add_position_linears(*attention, index, out.routers);
  }
  if (const ExpertsNode* experts = block.experts()) {
    out.experts = int64_t(experts->experts.size());
    out.top_k = experts->top_k;
    out.routers.push_back(module_of(experts->router, index, false));
    out.routers_at = experts->experts.empty() ? block.linears.size() : size_t(experts->experts[0].inputs()[0]);
  }
  for (const auto* list : {&out.linears, &out.routers}) {
    for (const ModuleInfo& linear : *list) out.other_parameters -= linear.parameters();
  }
  return out;
}

void visit_activation(const ActivateNode& node, const TensorVisitor& visit) {
  if (node.parameters.empty()) return;
  for (const char* of_one : {".alpha_n", ".alpha_p"}) visit(node.parameters + of_one, {1});
  for (const char* scalar : {".beta", ".eps"}) visit(node.parameters + scalar, {});
}

void visit_attention(const BlockProgram& block, const AttentionNode& node, const TensorVisitor& visit) {
  if (!node.sinks.empty()) visit(node.sinks, {node.heads});
  if (node.relative && node.relative->own) visit(node.relative->table, {node.relative->buckets, node.heads});
  if (!node.disentangled) return;
  const Disentangled& bias = *node.disentangled;
  if (bias.own) visit(bias.table, {2 * bias.span, block.values[kStream].width});
  if (bias.own && bias.norm) visit_norm(*bias.norm, visit);
  std::set<std::string> shared;
  for (const auto* linear : {&bias.own_query, &bias.own_key}) {
    if (*linear) visit_linear(**linear, shared, visit);
  }
}

void visit_neighbours(const BlockProgram& block, const NeighbourNode& node, const TensorVisitor& visit) {
  const int64_t rows = block.values[size_t(node.out)].width;
  visit(node.name + ".weight", {rows, block.values[size_t(node.in)].width, node.kernel});
  visit(node.name + ".bias", {rows});
}

// The router and what it chooses by; the experts are linears.
void visit_experts(const ExpertsNode& node, std::set<std::string>& shared, const TensorVisitor& visit) {
  visit_linear(node.router, shared, visit);
  const int64_t count = node.router.rows;
  if (!node.weight_scale.empty()) visit(node.weight_scale, {count});
  if (!node.router_bias.empty())
    visit(node.router_bias, node.bias_is_row ? std::vector<int64_t>{1, count} : std::vector<int64_t>{count});
}

}  // namespace

void visit_tensors(const BlockProgram& block, const TensorVisitor& visit) {
  std::set<std::string> shared;
  for (const Node& node : block.nodes) {
    if (const auto* norm = std::get_if<NormNode>(&node)) visit_norm(norm->norm, visit);
    if (const auto* factor = std::get_if<MultiplyNode>(&node)) visit(factor->name, {factor->size});
    if (const auto* convolution = std::get_if<ConvolutionNode>(&node)) visit_convolution(*convolution, visit);
    if (const auto* recurrence = std::get_if<RecurrenceNode>(&node)) visit_recurrence(block, *recurrence, visit);
    if (const auto* activated = std::get_if<ActivateNode>(&node)) visit_activation(*activated, visit);
    if (const auto* attention = std::get_if<AttentionNode>(&node)) visit_attention(block, *attention, visit);
    if (const auto* neighbours = std::get_if<NeighbourNode>(&node)) visit_neighbours(block, *neighbours, visit);
    if (const auto* experts = std::get_if<ExpertsNode>(&node)) visit_experts(*experts, shared, visit);
  }
  for (const LinearSpec& linear : block.linears) visit_linear(linear, shared, visit);
}

void visit_tensors_before(const ModelProgram& model, const TensorVisitor& visit) {
  std::set<std::string> shared;
  visit_embedding(model.embedding, visit);
  if (model.embedding_norm) visit_norm(*model.embedding_norm, visit);
  for (const auto* table : {&model.positions, &model.token_types, &model.second_embedding}) {
    if (*table) visit_embedding(**table, visit);
  }
  if (model.target && model.target->positions) visit_embedding(*model.target->positions, visit);
  if (model.target && model.target->norm) visit_norm(*model.target->norm, visit);
  if (model.project_in) visit_linear(*model.project_in, shared, visit);
  if (model.prologue) visit_tensors(*model.prologue, visit);
}

void visit_tensors_after(const ModelProgram& model, const TensorVisitor& visit) {
  std::set<std::string> shared;
  if (model.epilogue) visit_tensors(*model.epilogue, visit);
  if (model.final_norm) visit_norm(*model.final_norm, visit);
  if (model.project_out) visit_linear(*model.project_out, shared, visit);
  if (model.head_transform) visit_tensors(*model.head_transform, visit);
  if (model.head.rows == 0) return;
  if (!model.tied_embeddings)
    visit_linear(model.head, shared, visit);
  else
    visit_bias(model.head, shared, visit);
}

int64_t BlockShape::parameters() const {
  int64_t sum = other_parameters;
  for (const auto* list : {&linears, &routers}) {
    for (const ModuleInfo& linear : *list) sum += linear.parameters();
  }
  return sum;
}

int64_t ModelShape::parameters() const {
  int64_t sum = other_parameters + side_parameters - repeated_parameters;
  for (const ModuleInfo& end : ends) sum += tied_embeddings && end.is_head() ? 0 : end.parameters();
  for (const BlockShape& block : blocks) sum += block.parameters();
  return sum;
}

std::vector<ModuleInfo> ModelShape::modules() const {
  std::vector<ModuleInfo> out;
  const auto is_head = [](const ModuleInfo& end) { return end.is_head(); };
  std::copy_if(ends.begin(), ends.end(), std::back_inserter(out), [&](const ModuleInfo& end) { return !is_head(end); });
  for (const BlockShape& block : blocks) {
    const auto expert = block.linears.begin() + std::ptrdiff_t(block.routers_at);
    out.insert(out.end(), block.linears.begin(), expert);
    out.insert(out.end(), block.routers.begin(), block.routers.end());
    out.insert(out.end(), expert, block.linears.end());
  }
  std::copy_if(ends.begin(), ends.end(), std::back_inserter(out), is_head);
  return out;
}

std::vector<ModuleInfo> modules_of(const ModelProgram& model) { return shape_of(model).modules(); }

std::vector<std::string> with_head_named(std::vector<std::string> patterns, const std::vector<ModuleInfo>& modules) {
  constexpr const char* kConvention = "lm_head";
  const auto head =
      std::find_if(modules.begin(), modules.end(), [](const ModuleInfo& module) { return module.is_head(); });
  if (head != modules.end())
    std::replace(patterns.begin(), patterns.end(), std::string(kConvention), head->name);
  else
    std::erase(patterns, kConvention);  // an encoder's body has none
  return patterns;
}

std::optional<AttentionInfo> attention_of(const BlockProgram& block) {
  const AttentionNode* attention = block.attention();
  if (attention == nullptr) return {};
  const LinearSpec *keys = nullptr, *queries = nullptr;
  for (const LinearSpec& linear : block.linears) {
    if (linear.role == Role::Key || linear.role == Role::QueryKeyValue || linear.role == Role::KeyValue) keys = &linear;
    if (linear.role == Role::Query && queries == nullptr) queries = &linear;
  }
  AttentionInfo out{attention->name, {}, {}, attention->heads, attention->kv_heads, attention->head_size};
  if (keys == nullptr) keys = queries;  // those of another layer are read
  if (keys != nullptr) out.keys = keys->name, out.keys_tensor = keys->tensor();
  return out;
}

ModelShape shape_of(const ModelProgram& model) {
  ModelShape out;
  out.hidden_size = model.stream_width > 0 ? model.stream_width : model.hidden_size;
  out.vocabulary_size = model.embedding.rows;
  out.tied_embeddings = model.tied_embeddings;
  out.side_parameters = model.side_parameters;
  out.ends = ends_of(model);
  for (const auto visit : {visit_tensors_before, visit_tensors_after}) {
    visit(model,
          [&](const std::string&, const std::vector<int64_t>& shape) { out.other_parameters += count_of(shape); });
  }
  for (const ModuleInfo& end : out.ends)
    out.other_parameters -= model.tied_embeddings && end.is_head() ? 0 : end.parameters();
  std::set<std::string> seen;
  for (const BlockProgram& block : model.blocks) {
    visit_tensors(block, [&](const std::string& name, const std::vector<int64_t>& shape) {
      if (!seen.insert(name).second) out.repeated_parameters += count_of(shape);
    });
  }
  for (size_t i = 0; i < model.blocks.size(); ++i) out.blocks.push_back(shape_of(model.blocks[i], static_cast<int>(i)));
  return out;
}

}  // namespace swage::graph
