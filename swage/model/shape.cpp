#include "swage/model/shape.h"

#include <algorithm>

#include "swage/base/error.h"

namespace swage::model {
namespace {

int64_t count_of(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

int64_t bias_of(const LinearDescription& linear) { return linear.bias ? linear.rows : 0; }

ModuleInfo module_of(const LinearDescription& linear, int block, bool quantizable) {
  return {linear.name, "Linear", linear.rows, linear.columns, block, quantizable};
}

BlockShape shape_of(const BlockDescription& block, int index) {
  BlockShape out;
  int64_t all = 0;
  visit_tensors(block, [&](const std::string&, const std::vector<int64_t>& shape) { all += count_of(shape); });
  visit_linears(block, [&](const LinearDescription& linear, bool quantizable) {
    (quantizable ? out.linears : out.routers).push_back(module_of(linear, index, quantizable));
    all -= linear.rows * linear.columns;
  });
  out.other_parameters = all;
  out.stages = stages_of(block);
  out.norms = 2 + block.attention.query_norm.has_value() + block.attention.key_norm.has_value();
  out.heads = block.attention.heads;
  out.query_size = block.attention.query.rows;
  out.window = block.attention.window;
  if (const auto* moe = std::get_if<MoeDescription>(&block.mlp)) {
    out.experts = int64_t(moe->experts.size());
    out.top_k = moe->top_k;
  }
  return out;
}

}  // namespace

int64_t BlockShape::parameters() const {
  int64_t sum = other_parameters;
  for (const auto* list : {&linears, &routers}) {
    for (const ModuleInfo& linear : *list) sum += linear.parameters();
  }
  return sum;
}

int64_t ModelShape::parameters() const {
  int64_t sum = other_parameters + side_parameters;
  for (const ModuleInfo& end : ends) sum += tied_embeddings && end.class_name == "Linear" && end.name.ends_with("lm_head") ? 0 : end.parameters();
  for (const BlockShape& block : blocks) sum += block.parameters();
  return sum;
}

std::vector<ModuleInfo> ModelShape::modules() const {
  std::vector<ModuleInfo> out;
  const auto is_head = [](const ModuleInfo& end) { return end.name.ends_with("lm_head"); };
  std::copy_if(ends.begin(), ends.end(), std::back_inserter(out), [&](const ModuleInfo& end) { return !is_head(end); });
  for (const BlockShape& block : blocks) {
    for (const auto* list : {&block.linears, &block.routers}) out.insert(out.end(), list->begin(), list->end());
  }
  std::copy_if(ends.begin(), ends.end(), std::back_inserter(out), is_head);
  return out;
}

std::vector<Stage> stages_of(const BlockDescription& block) {
  const auto* moe = std::get_if<MoeDescription>(&block.mlp);
  std::vector<Stage> stages;
  stages.push_back({"attention input", {{{kQuery, kKey, kValue}}}});
  stages.push_back({"attention output", {{{kOutput}}}, !block.norm_after});
  if (moe == nullptr) {
    const bool gated = std::get<MlpDescription>(block.mlp).gate.has_value();
    stages.push_back({"mlp input", {gated ? InputGroup{{kMlp, kMlp + 1}} : InputGroup{{kMlp}}}});
    stages.push_back({"mlp output", {{{gated ? kMlp + 2 : kMlp + 1}}}, !block.norm_after});
    return stages;
  }
  Stage inputs{"mlp input", {}};
  std::vector<Stage> outputs;
  for (int e = 0; e < static_cast<int>(moe->experts.size()); ++e) {
    const int gate = kMlp + 3 * e;
    inputs.groups.push_back({{gate, gate + 1}, e});
    outputs.push_back({cat("expert ", e, " output"), {{{gate + 2}, e}}});
  }
  stages.push_back(std::move(inputs));
  for (Stage& stage : outputs) stages.push_back(std::move(stage));
  return stages;
}

ModelShape shape_of(const ModelDescription& model) {
  ModelShape out;
  out.hidden_size = model.hidden_size;
  out.vocabulary_size = model.embedding.rows;
  out.tied_embeddings = model.tied_embeddings;
  const auto add_embedding = [&](const EmbeddingDescription& embedding, bool quantizable) {
    out.ends.push_back({embedding.name, "Embedding", embedding.rows, embedding.columns, -1, quantizable});
  };
  add_embedding(model.embedding, true);
  if (model.positions) add_embedding(*model.positions, false);
  for (const auto* projection : {&model.project_out, &model.project_in}) {
    if (!*projection) continue;
    out.ends.push_back(module_of(**projection, -1, true));
    out.other_parameters += bias_of(**projection);
  }
  out.ends.push_back(module_of(model.head, -1, true));
  if (model.final_norm) out.other_parameters += model.final_norm->size * (model.final_norm->kind == NormKind::Layer ? 2 : 1);
  for (size_t i = 0; i < model.blocks.size(); ++i) out.blocks.push_back(shape_of(model.blocks[i], static_cast<int>(i)));
  return out;
}

}  // namespace swage::model
