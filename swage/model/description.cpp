#include "swage/model/description.h"

namespace swage::model {
namespace {

void visit_linear(const LinearDescription& linear, const TensorVisitor& visit) {
  visit(linear.name + ".weight", {linear.rows, linear.columns});
  if (linear.bias) visit(linear.name + ".bias", {linear.rows});
}

void visit_norm(const NormDescription& norm, const TensorVisitor& visit) {
  visit(norm.name + ".weight", {norm.size});
  if (norm.kind == NormKind::Layer) visit(norm.name + ".bias", {norm.size});
}

void visit_mlp_linears(const MlpDescription& mlp, const LinearVisitor& visit) {
  if (mlp.gate) visit(*mlp.gate, true);
  visit(mlp.up, true);
  visit(mlp.down, true);
}

void visit_fused(const MoeDescription& moe, const TensorVisitor& visit) {
  const int64_t experts = static_cast<int64_t>(moe.experts.size());
  const LinearDescription& up = moe.experts.front().up;
  visit(moe.fused + ".gate_up_proj", {experts, 2 * up.rows, up.columns});
  visit(moe.fused + ".down_proj", {experts, up.columns, up.rows});
}

}  // namespace

void visit_linears(const BlockDescription& block, const LinearVisitor& visit) {
  const AttentionDescription& attention = block.attention;
  for (const auto* linear : {&attention.query, &attention.key, &attention.value, &attention.output}) visit(*linear, true);
  if (const auto* mlp = std::get_if<MlpDescription>(&block.mlp)) return visit_mlp_linears(*mlp, visit);
  const auto& moe = std::get<MoeDescription>(block.mlp);
  visit(moe.router, false);
  for (const MlpDescription& expert : moe.experts) visit_mlp_linears(expert, visit);
}

void visit_tensors(const BlockDescription& block, const TensorVisitor& visit) {
  const auto* moe = std::get_if<MoeDescription>(&block.mlp);
  const bool fused = moe && !moe->fused.empty();
  visit_norm(block.attention_norm, visit);
  const AttentionDescription& attention = block.attention;
  if (attention.query_norm) visit_norm(*attention.query_norm, visit);
  if (attention.key_norm) visit_norm(*attention.key_norm, visit);
  visit_norm(block.mlp_norm, visit);
  int seen = 0;
  visit_linears(block, [&](const LinearDescription& linear, bool quantizable) {
    const bool in_expert = ++seen > 4 && quantizable && moe;
    if (!(fused && in_expert)) visit_linear(linear, visit);
  });
  if (fused) visit_fused(*moe, visit);
}

void visit_tensors_before(const ModelDescription& model, const TensorVisitor& visit) {
  visit(model.embedding.name + ".weight", {model.embedding.rows, model.embedding.columns});
  if (model.positions) visit(model.positions->name + ".weight", {model.positions->rows, model.positions->columns});
  if (model.project_in) visit_linear(*model.project_in, visit);
}

void visit_tensors_after(const ModelDescription& model, const TensorVisitor& visit) {
  if (model.final_norm) visit_norm(*model.final_norm, visit);
  if (model.project_out) visit_linear(*model.project_out, visit);
  if (!model.tied_embeddings) visit_linear(model.head, visit);
}

}  // namespace swage::model
