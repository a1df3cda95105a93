#include "swage/graph/program.h"

namespace swage::graph {
namespace {

using Name = std::function<std::string(const std::string&)>;

void change(std::string& text, const Name& name) {
  if (!text.empty()) text = name(text);
}

void change(LinearSpec& linear, const Name& name) {
  for (std::string* text : {&linear.name, &linear.stored.tensor, &linear.stored_bias.tensor}) change(*text, name);
}

void change(Disentangled& bias, const Name& name) {
  change(bias.table, name);
  if (bias.norm) change(bias.norm->name, name);
  for (auto* linear : {&bias.own_query, &bias.own_key}) {
    if (*linear) change(**linear, name);
  }
}

void change(BlockProgram& block, const Name& name) {
  for (LinearSpec& linear : block.linears) change(linear, name);
  for (Node& node : block.nodes) {
    if (auto* norm = std::get_if<NormNode>(&node)) change(norm->norm.name, name);
    if (auto* factor = std::get_if<MultiplyNode>(&node)) change(factor->name, name);
    if (auto* activated = std::get_if<ActivateNode>(&node)) change(activated->parameters, name);
    if (auto* attention = std::get_if<AttentionNode>(&node)) {
      change(attention->name, name);
      change(attention->sinks, name);
      if (attention->relative) change(attention->relative->table, name);
      if (attention->disentangled) change(*attention->disentangled, name);
    }
    if (auto* neighbours = std::get_if<NeighbourNode>(&node)) change(neighbours->name, name);
    if (auto* convolution = std::get_if<ConvolutionNode>(&node)) {
      for (ConvolutionNode::Part& part : convolution->parts) change(part.name, name);
    }
    if (auto* recurrence = std::get_if<RecurrenceNode>(&node)) {
      for (std::string* text : {&recurrence->rates, &recurrence->gate_bias, &recurrence->skip}) change(*text, name);
    }
    auto* experts = std::get_if<ExpertsNode>(&node);
    if (experts == nullptr) continue;
    change(experts->router, name);
    change(experts->router_bias, name);
    change(experts->weight_scale, name);
  }
}

}  // namespace

void rename(ModelProgram& model, const Name& name) {
  change(model.embedding.name, name);
  for (auto* table : {&model.positions, &model.token_types}) {
    if (*table) change((*table)->name, name);
  }
  if (model.target && model.target->positions) change(model.target->positions->name, name);
  if (model.target && model.target->norm) change(model.target->norm->name, name);
  for (auto* norm : {&model.embedding_norm, &model.final_norm}) {
    if (*norm) change((*norm)->name, name);
  }
  for (auto* linear : {&model.project_in, &model.project_out}) {
    if (*linear) change(**linear, name);
  }
  if (model.second_embedding) change(model.second_embedding->name, name);
  for (auto* part : {&model.prologue, &model.epilogue, &model.head_transform}) {
    if (*part) change(**part, name);
  }
  change(model.head, name);
  for (BlockProgram& block : model.blocks) change(block, name);
}

}  // namespace swage::graph
