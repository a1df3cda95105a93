// The calibration set on its way through the model: one flow a row, their tensors in two blocks of memory that are
// allocated once. Activations left to the allocator would come and go in many sizes, and what it cannot reuse adds up
// to gigabytes over the layers of a model. On a GPU what linears read is kept in the type that products are made in.
// Rows of both blocks can lie on disk; then they take memory while they are worked on.
#pragma once
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "swage/base/trace.h"
#include "swage/model/model.h"
#include "swage/offload/rows.h"

namespace swage::pipeline {

// N rows, T tokens a row, D hidden size, I the widest input of any linear so far.
class Activations {
 public:
  // Embeds ids_NT (int64); the model's ends must be loaded.
  Activations(const model::Model& model, const at::Tensor& ids_NT, const offload::Tiers& tiers, Trace* trace = nullptr);

  // Makes room for inputs of `columns`; call between blocks, when no flow has an input.
  void make_room(int64_t columns);
  // Runs `work` on every flow, one flow a thread, and takes what it left in the flow into this object's memory. `block`
  // is for the trace.
  void advance(const std::function<void(model::Flow&)>& work, int64_t block = -1);
  // Multiplies what the linears of the current stage read by factor_I [I], f32; `mlp`: also what experts read in later
  // stages.
  void scale_inputs(const at::Tensor& factor_I, bool mlp);
  // Whoever reads them says so with release() when done with one, so that its memory is given back.
  const std::vector<model::Flow>& flows() const { return flows_; }
  void release(size_t row) const;
  int64_t tokens() const { return int64_t(flows_.size()) * tokens_; }

  // The residual streams as they are between two blocks, to a file and back, synced; `block` is the one that gave them.
  //   "swage activations BLOCK N T D CHECKSUM\n", filled up with spaces to 128 bytes; f32 [N, T, D], little-endian
  // load(): Error(CorruptData) if the file is not that of this block and these sizes, whole.
  void save(const std::filesystem::path& file, int64_t block) const;
  void load(const std::filesystem::path& file, int64_t block);

 private:
  std::string file_header(int64_t block, uint64_t sum) const;
  void prefetch(int64_t row) const;
  at::Tensor hidden_of(int64_t row) const { return hidden_.row(row).view({tokens_, width_}); }
  void keep(int64_t row);

  Trace* trace_;
  std::vector<model::Flow> flows_;
  offload::Tiers tiers_;
  int64_t tokens_, width_ = 0;  // T, D
  at::TensorOptions options_;
  offload::Rows hidden_;  // T * D numbers a row
  offload::Rows inputs_;  // T * I: a row's input takes the first T * columns of it
};

}  // namespace swage::pipeline
