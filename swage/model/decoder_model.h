// The causal language model that a ModelDescription describes.
#pragma once
#include <memory>

#include "swage/model/decoder_block.h"
#include "swage/model/model.h"

namespace swage::model {

// Const calls may come from several threads.
class DecoderModel : public Model {
 public:
  DecoderModel(ModelDescription description, at::Device device);

  int64_t blocks() const override { return static_cast<int64_t>(description_.blocks.size()); }
  int64_t hidden_size() const override { return description_.hidden_size; }
  int64_t vocabulary_size() const override { return description_.embedding.rows; }
  int64_t max_positions() const override { return description_.max_positions; }
  bool tied_embeddings() const override { return description_.tied_embeddings; }
  std::vector<ModuleInfo> modules() const override;
  ModelShape shape() const override { return shape_of(description_); }
  std::vector<io::TensorSpec> required_tensors() const override;
  std::vector<std::string> tensors_of_block(int64_t index) const override;
  const MoeDescription* mixture(int64_t index) const override { return std::get_if<MoeDescription>(&block_at(index).mlp); }
  std::vector<SmoothingPair> smoothing_pairs(int64_t index) const override;
  RotatedTensors rotated_tensors(const RotatedSpaces& spaces) const override { return model::rotated_tensors(description_, spaces); }
  RotationSites rotation_sites() const override { return model::rotation_sites(description_); }
  std::unique_ptr<Block> load_block(int64_t index, const checkpoint::WeightSource& weights) const override;
  void load_ends(const checkpoint::WeightSource& weights) override;
  void drop_ends() override;
  at::Tensor embed(const at::Tensor& ids_T, int64_t position) const override;
  at::Tensor head_input(const at::Tensor& hidden_TD) const override;
  at::Tensor logits(const at::Tensor& hidden_TD) const override;
  KvCache make_cache() const override { return {}; }

 private:
  const BlockDescription& block_at(int64_t index) const;
  at::Tensor position_rows(int64_t position, int64_t count) const;

  const ModelDescription description_;
  const at::Device device_;
  std::shared_ptr<const Rope> rope_;
  // What load_ends() loads.
  at::Tensor embedding_VD_, positions_PD_;
  std::optional<Linear> project_in_, project_out_, head_;
  std::optional<Norm> final_norm_;
};

}  // namespace swage::model
