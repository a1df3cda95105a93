// The cache of all sequences: blocks out of one pool, shared where sequences begin alike.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "swage/model/kv_cache.h"
#include "swage/runtime/block_pool.h"
#include "swage/runtime/prefix_tree.h"

namespace swage::runtime {

// What one sequence holds of it. Its owner gives it back by CachePool::release().
struct SequenceMemory {
  std::vector<BlockId> blocks;           // in the sequence's order; -1: given back, as no token sees it any more
  size_t first_held = 0;                 // of the blocks, before which leave() has nothing to do
  std::vector<PrefixTree::Node*> nodes;  // of the first of them, those that are in the tree
  std::vector<BlockId> state;            // blocks in which the states of recurrences lie
  model::SequenceCache cache;            // where all of these are

  bool is_empty() const { return blocks.empty() && state.empty(); }
};

struct CacheOptions {
  int64_t blocks = 0;
  bool shares_prefixes = true;
  int64_t shared_up_to = 0;  // sequences of more tokens do not share, as their keys are others; 0: all do
};

// Not thread-safe.
class CachePool {
 public:
  CachePool(model::CacheLayout layout, const CacheOptions& options);

  const model::CacheLayout& layout() const { return layout_; }
  // Bytes of the pool's blocks, and how many of them a sequence's states take.
  static int64_t block_bytes(const model::CacheLayout& layout);
  static int64_t state_blocks(const model::CacheLayout& layout);
  // Tokens of one sequence that had the pool for itself.
  int64_t most_tokens() const;
  // Blocks that a sequence of so many tokens has, those that were given back included.
  int64_t blocks_of(int64_t tokens) const;
  // The most that it holds at once where its tokens come in steps of so many.
  static int64_t most_blocks(const model::CacheLayout& layout, int64_t tokens, int64_t step_tokens);

  // The first blocks of a sequence that holds nothing, out of those of other sequences. Returns the tokens in them,
  // fewer than there are ids. `prompt`: of the ids, those that were there at once.
  int64_t share(SequenceMemory& memory, std::span<const int64_t> ids, int64_t prompt);
  // Room for so many tokens; false if there is none, in which case what it holds stays as it is.
  bool grow(SequenceMemory& memory, int64_t tokens);
  // The first `computed` tokens of `ids` are in the cache now: others may use their full blocks.
  void offer(SequenceMemory& memory, std::span<const int64_t> ids, int64_t computed, int64_t prompt);
  // Gives back the blocks that the tokens behind the first `computed` ones do not see, but for those that others may
  // use.
  void leave(SequenceMemory& memory, int64_t computed);
  void release(SequenceMemory& memory);

  int64_t blocks() const { return pool_.count(); }
  int64_t kept() const { return tree_.unused(); }  // that nobody uses, for those that begin alike
  int64_t available() const { return pool_.left() + tree_.unused(); }

 private:
  BlockId take();
  bool may_share(int64_t prompt, int64_t tokens) const;
  void add_block(SequenceMemory& memory, BlockId block) const;

  model::CacheLayout layout_;
  CacheOptions options_;
  BlockPool pool_;
  PrefixTree tree_;
};

}  // namespace swage::runtime
