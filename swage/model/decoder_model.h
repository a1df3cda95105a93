// The language model that a ModelProgram describes.
#pragma once
#include <memory>

#include "swage/model/model.h"
#include "swage/model/program_block.h"

namespace swage::model {

// Const calls may come from several threads.
class DecoderModel : public Model {
 public:
  DecoderModel(graph::ModelProgram program, at::Device device);

  int64_t blocks() const override { return static_cast<int64_t>(program_.blocks.size()); }
  int64_t hidden_size() const override { return program_.hidden_size; }
  int64_t vocabulary_size() const override { return program_.embedding.rows; }
  int64_t max_positions() const override { return program_.max_positions; }
  bool tied_embeddings() const override { return program_.tied_embeddings; }
  std::vector<ModuleInfo> modules() const override { return graph::modules_of(program_); }
  ModelShape shape() const override { return graph::shape_of(program_); }
  std::vector<io::TensorSpec> required_tensors() const override;
  std::vector<std::string> tensors_of_block(int64_t index) const override;
  const graph::Mixture* mixture(int64_t index) const override;
  std::optional<graph::AttentionInfo> attention(int64_t index) const override {
    return graph::attention_of(block_at(index));
  }
  const graph::ModelProgram& program() const override { return program_; }
  std::vector<SmoothingPair> smoothing_pairs(int64_t index) const override;
  RotatedTensors rotated_tensors(const RotatedSpaces& spaces) const override {
    return graph::rotated_tensors(program_, spaces);
  }
  RotationSites rotation_sites() const override { return graph::rotation_sites(program_); }
  std::unique_ptr<Block> load_block(int64_t index, const checkpoint::WeightSource& weights) const override;
  void load_ends(const checkpoint::WeightSource& weights) override;
  void drop_ends() override;
  at::Tensor embed(const at::Tensor& ids_T, int64_t position, const at::Tensor& types_T) const override;
  at::Tensor embed_target(const at::Tensor& ids_T) const override;
  at::Tensor last_hidden(const at::Tensor& hidden_TD) const override;
  at::Tensor head_input(const at::Tensor& hidden_TD) const override;
  at::Tensor logits(const at::Tensor& hidden_TD) const override;

 private:
  const graph::BlockProgram& block_at(int64_t index) const;
  at::Tensor widened(const at::Tensor& hidden_TD, const at::Tensor& ids_T) const;
  void check_ids(const at::Tensor& ids_T) const;
  void load_head(const checkpoint::WeightSource& weights);
  // Rows of the embedding, f32.
  at::Tensor embedded(const at::Tensor& ids_T) const;
  void add_positions(at::Tensor& hidden_TD, const at::Tensor& ids_T, int64_t position) const;
  void add_types(at::Tensor& hidden_TD, const at::Tensor& types_T) const;

  const graph::ModelProgram program_;
  const at::Device device_;
  RopeTables ropes_;
  std::vector<std::optional<graph::Mixture>> mixtures_;  // by block
  // What load_ends() loads.
  at::Tensor embedding_VD_, positions_PD_, types_KD_, second_embedding_VC_, target_positions_PD_;
  std::unique_ptr<Block> prologue_, epilogue_, head_transform_;
  std::optional<Linear> project_in_, project_out_, head_;
  std::optional<Norm> embedding_norm_, final_norm_, target_norm_;
};

}  // namespace swage::model
