// What the tokens of a sequence leave behind for those that follow: keys and values in blocks of 16 tokens, states of
// recurrences and convolutions.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "swage/graph/program.h"
#include "swage/ops/paged_attention.h"

namespace swage::model {

using ops::kBlockTokens;

struct CachedAttention {
  size_t node;  // of the block's program
  ops::PagedLayer pages;
};

struct CachedState {
  size_t node;
  int64_t offset;  // bytes, from the sequence's state's beginning
  std::vector<int64_t> shape;
};

// Of one of the model's blocks.
struct LayerCache {
  std::vector<CachedAttention> attentions;
  std::vector<CachedState> states;

  const ops::PagedLayer& pages(size_t node) const;
  const CachedState& state(size_t node) const;
};

// Where each of them lies: a block holds the keys and values of 16 tokens of all layers, a sequence has one state.
struct CacheLayout {
  std::vector<LayerCache> layers;
  int64_t block_bytes = 0;
  int64_t state_bytes = 0;
  int64_t reach = 0;  // a token sees none that lie farther back than this; 0: some attention sees all
};
CacheLayout cache_layout(const graph::ModelProgram& model, kernels::CacheFormat format);

// The memory of one sequence; whoever makes it owns what it points to. The state lies in pieces of `piece_bytes`.
struct SequenceCache {
  std::vector<std::byte*> blocks;
  std::vector<std::byte*> state;
  int64_t piece_bytes = 0;

  at::Tensor read(const CachedState& state) const;
  void write(const CachedState& state, const at::Tensor& value) const;
};

// Rows of a batch that are one sequence's: `rows` tokens from `first` on, which stand at the positions from `position`
// on; their caches hold what comes before.
struct SequenceRows {
  int64_t first, rows, position;
  int64_t known;  // tokens that were there before the first one was computed: the prompt
  const SequenceCache* cache;
};

// Several sequences that go through the model as the rows of one flow.
struct Batch {
  const CacheLayout* layout;
  std::vector<SequenceRows> sequences;
};

}  // namespace swage::model
