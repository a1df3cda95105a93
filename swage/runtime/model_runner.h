// A model with all blocks in memory, run for many sequences at once.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "swage/base/context.h"
#include "swage/checkpoint/weight_source.h"
#include "swage/model/kv_cache.h"
#include "swage/model/model.h"

namespace swage::runtime {

// One sequence's part of a step: the next tokens and where they stand.
struct Piece {
  std::span<const int64_t> ids;
  int64_t position, known;  // as in model::SequenceRows
  const model::SequenceCache* cache;
  int64_t logits;                       // of so many of the last tokens, what is predicted is wanted
  int64_t pooled = 0;                   // the outputs of so many of the last tokens, behind the final norm, are added
  std::vector<double>* pool = nullptr;  // to this [D]
};

class ModelRunner {
 public:
  // Loads everything. Error(Unsupported) for a model that does not continue text.
  ModelRunner(model::Model& model, const checkpoint::WeightSource& weights, const Context& context);
  const model::Model& model() const { return model_; }
  // Tokens that may come next, the first ones of the vocabulary: some may stand in prompts alone.
  int64_t predicted() const { return model_.program().head.rows; }
  // Puts the pieces' tokens through the model, whose keys, values and states go into their caches. Returns logits f32
  // [wanted rows, V] on the CPU, piece by piece; undefined if none are wanted. On the CPU a sequence's are the same
  // bits whatever runs beside it and however it is cut.
  at::Tensor run(const model::CacheLayout& layout, const std::vector<Piece>& pieces) const;

 private:
  model::Model& model_;
  const bool on_host_;
  std::vector<std::unique_ptr<model::Block>> blocks_;
};

// Error(Unsupported) for a model that does not continue text.
void check_continues_text(const graph::ModelProgram& program);

}  // namespace swage::runtime
