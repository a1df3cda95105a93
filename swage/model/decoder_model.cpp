#include "swage/model/decoder_model.h"

#include <ATen/ops/embedding.h>
#include <ATen/ops/zeros.h>

#include "swage/base/error.h"
#include "swage/model/weight_loader.h"

namespace swage::model {
namespace {

void check_no_transforms(const graph::EmbeddingSpec& embedding, const checkpoint::WeightSource& weights) {
  for (const auto location : {scheme::TransformLocation::Input, scheme::TransformLocation::Output}) {
    SWAGE_CHECK(!weights.transform({embedding.name, "Embedding"}, location, embedding.columns), Unsupported,
                "transform_config: ", embedding.name,
                ": transforms of embeddings while the model runs are not supported");
  }
}

}  // namespace

DecoderModel::DecoderModel(graph::ModelProgram program, at::Device device)
    : program_(std::move(program)),
      device_(device) {
  for (const graph::RopeSpec& rope : program_.ropes) ropes_.push_back(std::make_shared<const Rope>(rope, device_));
  for (const graph::BlockProgram& block : program_.blocks) mixtures_.push_back(graph::mixture_of(block));
}

std::vector<io::TensorSpec> DecoderModel::required_tensors() const {
  std::vector<io::TensorSpec> out;
  const auto add = [&out](const std::string& name, const std::vector<int64_t>& shape) {
    out.push_back({name, io::Dtype::F32, shape});
  };
  graph::visit_tensors_before(program_, add);
  for (const graph::BlockProgram& block : program_.blocks) graph::visit_tensors(block, add);
  graph::visit_tensors_after(program_, add);
  return out;
}

const graph::Mixture* DecoderModel::mixture(int64_t index) const {
  block_at(index);
  const std::optional<graph::Mixture>& found = mixtures_[size_t(index)];
  return found ? &*found : nullptr;
}

const graph::BlockProgram& DecoderModel::block_at(int64_t index) const {
  SWAGE_CHECK(index >= 0 && index < blocks(), InvalidArgument, "block ", index, " of a model with ", blocks());
  return program_.blocks[static_cast<size_t>(index)];
}

std::vector<std::string> DecoderModel::tensors_of_block(int64_t index) const {
  std::vector<std::string> names;
  graph::visit_tensors(block_at(index), [&names](const std::string& name, const auto&) { names.push_back(name); });
  return names;
}

std::vector<SmoothingPair> DecoderModel::smoothing_pairs(int64_t index) const {
  return graph::smoothing_pairs(block_at(index));
}

std::unique_ptr<Block> DecoderModel::load_block(int64_t index, const checkpoint::WeightSource& weights) const {
  return std::make_unique<ProgramBlock>(block_at(index), weights, ropes_);
}

void DecoderModel::load_ends(const checkpoint::WeightSource& weights) {
  const graph::EmbeddingSpec& embedding = program_.embedding;
  check_no_transforms(embedding, weights);
  embedding_VD_ = load_shaped(weights, embedding.name + ".weight", {embedding.rows, embedding.columns});
  if (const auto& positions = program_.positions) {
    positions_PD_ = load_shaped(weights, positions->name + ".weight", {positions->rows, positions->columns});
  }
  if (const auto& second = program_.second_embedding)
    second_embedding_VC_ = load_shaped(weights, second->name + ".weight", {second->rows, second->columns});
  if (program_.prologue) prologue_ = std::make_unique<ProgramBlock>(*program_.prologue, weights, ropes_);
  if (program_.epilogue) epilogue_ = std::make_unique<ProgramBlock>(*program_.epilogue, weights, ropes_);
  if (program_.project_in) project_in_ = load_linear(*program_.project_in, weights);
  if (program_.project_out) project_out_ = load_linear(*program_.project_out, weights);
  if (program_.embedding_norm) embedding_norm_ = Norm(*program_.embedding_norm, weights);
  if (program_.final_norm) final_norm_ = Norm(*program_.final_norm, weights);
  if (!program_.tied_embeddings) {
    head_ = load_linear(program_.head, weights);
    return;
  }
  const graph::LinearSpec& head = program_.head;
  head_ = Linear{.name = head.name, .rows = head.rows, .columns = head.columns};
  head_->weight_OI = embedding_VD_;
  if (head.bias) head_->bias_O = load_shaped(weights, head.name + ".bias", {head.rows});
  load_transforms(*head_, weights);
}

void DecoderModel::drop_ends() {
  embedding_VD_ = positions_PD_ = second_embedding_VC_ = at::Tensor();
  prologue_.reset();
  epilogue_.reset();
  project_in_ = project_out_ = head_ = std::nullopt;
  embedding_norm_ = final_norm_ = std::nullopt;
}

at::Tensor DecoderModel::position_rows(int64_t position, int64_t count) const {
  const int64_t rows = positions_PD_.size(0) - program_.position_offset;
  SWAGE_CHECK(position >= 0 && position + count <= rows, InvalidArgument, "positions ", position, " to ",
              position + count - 1, " of a model with ", rows, " learned positions");
  return positions_PD_.narrow(0, position + program_.position_offset, count);
}

// The stream of a model whose stream is wider than its hidden state.
at::Tensor DecoderModel::widened(const at::Tensor& hidden_TD, const at::Tensor& ids_T) const {
  Flow flow;
  flow.hidden_TD = at::zeros({ids_T.size(0), program_.stream_width}, hidden_TD.options());
  flow.hidden_TD.narrow(1, 0, hidden_TD.size(1)).copy_(hidden_TD);
  at::Tensor known_T = ids_T;  // the second table lacks tokens that stand for images and sounds: they take its first
  if (second_embedding_VC_.defined()) known_T = ids_T.masked_fill(ids_T.ge(second_embedding_VC_.size(0)), 0);
  if (second_embedding_VC_.defined())
    flow.hidden_TD.narrow(1, hidden_TD.size(1), second_embedding_VC_.size(1))
        .copy_(at::embedding(second_embedding_VC_, known_T).mul_(program_.second_embedding_scale));
  if (prologue_) prologue_->forward(flow);
  return flow.hidden_TD;
}

at::Tensor DecoderModel::embed(const at::Tensor& ids_T, int64_t position) const {
  SWAGE_CHECK(embedding_VD_.defined(), Internal, "embed() before load_ends()");
  SWAGE_CHECK(ids_T.dim() == 1 && ids_T.scalar_type() == at::kLong && ids_T.numel() > 0, InvalidArgument,
              "token ids must be a non-empty int64 vector");
  const int64_t least = ids_T.min().item<int64_t>(), most = ids_T.max().item<int64_t>();
  SWAGE_CHECK(least >= 0 && most < vocabulary_size(), InvalidArgument, "token id ", least < 0 ? least : most,
              " is outside the model's vocabulary of ", vocabulary_size(),
              ": does tokenizer.json belong to another model?");
  at::Tensor hidden_TD = at::embedding(embedding_VD_, ids_T.to(device_));
  if (program_.embedding_scale != 1) hidden_TD.mul_(program_.embedding_scale);
  if (embedding_norm_) hidden_TD = (*embedding_norm_)(hidden_TD);
  if (project_in_) hidden_TD = (*project_in_)(hidden_TD);
  if (positions_PD_.defined()) hidden_TD.add_(position_rows(position, ids_T.size(0)));
  return program_.stream_width > 0 ? widened(hidden_TD, ids_T.to(device_)) : hidden_TD;
}

at::Tensor DecoderModel::head_input(const at::Tensor& hidden_TD) const {
  SWAGE_CHECK(head_.has_value(), Internal, "head_input() before load_ends()");
  Flow flow;
  flow.hidden_TD = epilogue_ ? hidden_TD.clone() : hidden_TD;
  if (epilogue_) epilogue_->forward(flow);
  const at::Tensor own_TD =
      program_.stream_width > 0 ? flow.hidden_TD.narrow(1, 0, program_.hidden_size).contiguous() : flow.hidden_TD;
  const at::Tensor x_TD = final_norm_ ? (*final_norm_)(own_TD) : own_TD;
  return project_out_ ? (*project_out_)(x_TD) : x_TD;
}

at::Tensor DecoderModel::logits(const at::Tensor& hidden_TD) const {
  at::Tensor logits_TV = (*head_)(head_input(hidden_TD));
  if (program_.logit_scale != 1) logits_TV.mul_(program_.logit_scale);
  if (program_.logit_softcap > 0) logits_TV.div_(program_.logit_softcap).tanh_().mul_(program_.logit_softcap);
  return logits_TV;
}

}  // namespace swage::model
