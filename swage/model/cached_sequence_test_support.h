// For tests only: sequences with caches of their own that go through a model together.
#pragma once
#include <ATen/ATen.h>

#include <memory>
#include <utility>
#include <vector>

#include "swage/model/kv_cache.h"
#include "swage/model/model.h"

namespace swage::model {

struct CachedSequence {
  // `known`: tokens of the prompt; 0: those of the first run.
  explicit CachedSequence(const Model& model, int64_t known = 0,
                          kernels::CacheFormat format = kernels::CacheFormat::F32)
      : known(known),
        layout(cache_layout(model.program(), format)) {
    cache.piece_bytes = 64;
    for (int64_t at = 0; at < layout.state_bytes; at += cache.piece_bytes) cache.state.push_back(grab(64));
  }
  CachedSequence(CachedSequence&&) = default;

  std::byte* grab(int64_t bytes) {
    // NaN wherever nothing was stored
    return memory.emplace_back(std::make_unique<std::vector<std::byte>>(size_t(bytes), std::byte{0xFF}))->data();
  }
  void reserve(int64_t count) {
    while (int64_t(cache.blocks.size()) * kBlockTokens < count) cache.blocks.push_back(grab(layout.block_bytes));
  }

  int64_t tokens = 0, known;
  CacheLayout layout;
  SequenceCache cache;
  std::vector<std::unique_ptr<std::vector<std::byte>>> memory;
};

using Pieces = std::vector<std::pair<CachedSequence*, at::Tensor>>;  // with the ids that come next

// The residual stream behind the blocks, of all pieces.
inline at::Tensor run_together(const Model& model, const std::vector<std::unique_ptr<Block>>& blocks,
                               const Pieces& pieces) {
  Batch batch{&pieces.front().first->layout, {}};
  std::vector<at::Tensor> hidden;
  int64_t row = 0;
  for (const auto& [sequence, ids_T] : pieces) {
    const int64_t count = ids_T.size(0);
    if (sequence->known == 0) sequence->known = count;
    sequence->reserve(sequence->tokens + count);
    hidden.push_back(model.embed(ids_T, sequence->tokens));
    batch.sequences.push_back({row, count, sequence->tokens, sequence->known, &sequence->cache});
    sequence->tokens += count;
    row += count;
  }
  Flow flow;
  flow.hidden_TD = at::cat(hidden);
  flow.batch = &batch;
  for (size_t b = 0; b < blocks.size(); ++b) {
    flow.layer = int64_t(b);
    blocks[b]->forward(flow);
  }
  return flow.hidden_TD;
}

inline at::Tensor logits_together(const Model& model, const std::vector<std::unique_ptr<Block>>& blocks,
                                  const Pieces& pieces) {
  return model.logits(run_together(model, blocks, pieces));
}

}  // namespace swage::model
