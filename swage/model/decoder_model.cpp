#include "swage/model/decoder_model.h"

#include <ATen/ops/embedding.h>

#include "swage/base/error.h"

namespace swage::model {
namespace {

void check_no_transforms(const EmbeddingDescription& embedding, const checkpoint::WeightSource& weights) {
  for (const auto location : {scheme::TransformLocation::Input, scheme::TransformLocation::Output}) {
    SWAGE_CHECK(!weights.transform({embedding.name, "Embedding"}, location, embedding.columns), Unsupported, "transform_config: ", embedding.name,
                ": transforms of embeddings while the model runs are not supported");
  }
}

}  // namespace

DecoderModel::DecoderModel(ModelDescription description, at::Device device) : description_(std::move(description)), device_(device) {
  if (description_.rope) rope_ = std::make_shared<const Rope>(*description_.rope, device_);
}

std::vector<ModuleInfo> DecoderModel::modules() const {
  std::vector<ModuleInfo> out;
  const auto add_linear = [&out](const LinearDescription& linear, int block, bool quantizable) {
    out.push_back({linear.name, "Linear", linear.rows, linear.columns, block, quantizable});
  };
  const EmbeddingDescription& embedding = description_.embedding;
  out.push_back({embedding.name, "Embedding", embedding.rows, embedding.columns, -1, true});
  if (const auto& positions = description_.positions) {
    out.push_back({positions->name, "Embedding", positions->rows, positions->columns, -1, false});
  }
  if (description_.project_out) add_linear(*description_.project_out, -1, true);
  if (description_.project_in) add_linear(*description_.project_in, -1, true);
  for (size_t i = 0; i < description_.blocks.size(); ++i) {
    visit_linears(description_.blocks[i],
                  [&](const LinearDescription& linear, bool quantizable) { add_linear(linear, static_cast<int>(i), quantizable); });
  }
  add_linear(description_.head, -1, true);
  return out;
}

std::vector<io::TensorSpec> DecoderModel::required_tensors() const {
  std::vector<io::TensorSpec> out;
  const auto add = [&out](const std::string& name, const std::vector<int64_t>& shape) { out.push_back({name, io::Dtype::F32, shape}); };
  visit_tensors_before(description_, add);
  for (const BlockDescription& block : description_.blocks) visit_tensors(block, add);
  visit_tensors_after(description_, add);
  return out;
}

const BlockDescription& DecoderModel::block_at(int64_t index) const {
  SWAGE_CHECK(index >= 0 && index < blocks(), InvalidArgument, "block ", index, " of a model with ", blocks());
  return description_.blocks[static_cast<size_t>(index)];
}

std::vector<std::string> DecoderModel::tensors_of_block(int64_t index) const {
  std::vector<std::string> names;
  visit_tensors(block_at(index), [&names](const std::string& name, const auto&) { names.push_back(name); });
  return names;
}

std::vector<SmoothingPair> DecoderModel::smoothing_pairs(int64_t index) const { return model::smoothing_pairs(block_at(index)); }

std::unique_ptr<Block> DecoderModel::load_block(int64_t index, const checkpoint::WeightSource& weights) const {
  return std::make_unique<DecoderBlock>(block_at(index), weights, rope_);
}

void DecoderModel::load_ends(const checkpoint::WeightSource& weights) {
  const EmbeddingDescription& embedding = description_.embedding;
  check_no_transforms(embedding, weights);
  embedding_VD_ = load_shaped(weights, embedding.name + ".weight", {embedding.rows, embedding.columns});
  if (const auto& positions = description_.positions) {
    positions_PD_ = load_shaped(weights, positions->name + ".weight", {positions->rows, positions->columns});
  }
  if (description_.project_in) project_in_ = load_linear(*description_.project_in, weights);
  if (description_.project_out) project_out_ = load_linear(*description_.project_out, weights);
  if (description_.final_norm) final_norm_ = Norm(*description_.final_norm, weights);
  if (!description_.tied_embeddings) {
    head_ = load_linear(description_.head, weights);
    return;
  }
  const LinearDescription& head = description_.head;
  head_ = Linear{.name = head.name, .rows = head.rows, .columns = head.columns};
  head_->weight_OI = embedding_VD_;
  load_transforms(*head_, weights);
}

void DecoderModel::drop_ends() {
  embedding_VD_ = positions_PD_ = at::Tensor();
  project_in_ = project_out_ = head_ = std::nullopt;
  final_norm_ = std::nullopt;
}

at::Tensor DecoderModel::position_rows(int64_t position, int64_t count) const {
  const int64_t rows = positions_PD_.size(0) - description_.position_offset;
  SWAGE_CHECK(position >= 0 && position + count <= rows, InvalidArgument, "positions ", position, " to ", position + count - 1, " of a model with ",
              rows, " learned positions");
  return positions_PD_.narrow(0, position + description_.position_offset, count);
}

at::Tensor DecoderModel::embed(const at::Tensor& ids_T, int64_t position) const {
  SWAGE_CHECK(embedding_VD_.defined(), Internal, "embed() before load_ends()");
  SWAGE_CHECK(ids_T.dim() == 1 && ids_T.scalar_type() == at::kLong && ids_T.numel() > 0, InvalidArgument,
              "token ids must be a non-empty int64 vector");
  const int64_t least = ids_T.min().item<int64_t>(), most = ids_T.max().item<int64_t>();
  SWAGE_CHECK(least >= 0 && most < vocabulary_size(), InvalidArgument, "token id ", least < 0 ? least : most, " is outside the model's vocabulary of ",
              vocabulary_size(), ": does tokenizer.json belong to another model?");
  at::Tensor hidden_TD = at::embedding(embedding_VD_, ids_T.to(device_));
  if (project_in_) hidden_TD = (*project_in_)(hidden_TD);
  if (positions_PD_.defined()) hidden_TD.add_(position_rows(position, ids_T.size(0)));
  return hidden_TD;
}

at::Tensor DecoderModel::head_input(const at::Tensor& hidden_TD) const {
  SWAGE_CHECK(head_.has_value(), Internal, "head_input() before load_ends()");
  const at::Tensor x_TD = final_norm_ ? (*final_norm_)(hidden_TD) : hidden_TD;
  return project_out_ ? (*project_out_)(x_TD) : x_TD;
}

at::Tensor DecoderModel::logits(const at::Tensor& hidden_TD) const { return (*head_)(head_input(hidden_TD)); }

}  // namespace swage::model
