#include "swage/runtime/sequence_cache.h"

#include <algorithm>
#include <limits>

#include "swage/base/error.h"

namespace swage::runtime {

CachePool::CachePool(model::CacheLayout layout, const CacheOptions& options)
    : layout_(std::move(layout)),
      options_(options),
      pool_(block_bytes(layout_), options.blocks) {
  // A state is that of all tokens: it cannot be had for the first ones alone.
  if (layout_.state_bytes > 0) options_.shares_prefixes = false;
  // What is shared stays until the sequence's end: no more than one window of it.
  if (layout_.reach > 0 && (options_.shared_up_to == 0 || options_.shared_up_to > layout_.reach))
    options_.shared_up_to = layout_.reach;
}

int64_t CachePool::block_bytes(const model::CacheLayout& layout) {
  return std::max<int64_t>(1, layout.block_bytes > 0 ? layout.block_bytes : layout.state_bytes);
}

int64_t CachePool::state_blocks(const model::CacheLayout& layout) {
  const int64_t bytes = block_bytes(layout);
  return (layout.state_bytes + bytes - 1) / bytes;
}

int64_t CachePool::blocks_of(int64_t tokens) const {
  const int64_t of_tokens = layout_.block_bytes > 0 ? (tokens + kBlockTokens - 1) / kBlockTokens : 0;
  return of_tokens + state_blocks(layout_);
}

int64_t CachePool::most_blocks(const model::CacheLayout& layout, int64_t tokens, int64_t step_tokens) {
  if (layout.block_bytes == 0) return state_blocks(layout);
  const auto blocks = [](int64_t count) { return (count + kBlockTokens - 1) / kBlockTokens; };
  // What is shared, a window and a step, of which the first and the last block may be for one token.
  const int64_t held = layout.reach == 0 ? std::numeric_limits<int64_t>::max()
                                         : blocks(layout.reach) + blocks(layout.reach + step_tokens) + 1;
  return std::min(blocks(tokens), held) + state_blocks(layout);
}

int64_t CachePool::most_tokens() const {
  if (layout_.block_bytes == 0) return std::numeric_limits<int64_t>::max();
  return (pool_.count() - state_blocks(layout_)) * kBlockTokens;
}

bool CachePool::may_share(int64_t prompt, int64_t tokens) const {
  return options_.shares_prefixes && layout_.block_bytes > 0 &&
         (options_.shared_up_to == 0 || std::max(prompt, tokens) <= options_.shared_up_to);
}

void CachePool::add_block(SequenceMemory& memory, BlockId block) const {
  memory.blocks.push_back(block);
  memory.cache.blocks.push_back(pool_.memory(block));
}

int64_t CachePool::share(SequenceMemory& memory, std::span<const int64_t> ids, int64_t prompt) {
  SWAGE_CHECK(memory.is_empty(), Internal, "a sequence that holds blocks begins again");
  if (!may_share(prompt, 0)) return 0;
  memory.nodes = tree_.match(ids, (int64_t(ids.size()) - 1) / kBlockTokens);
  for (const PrefixTree::Node* node : memory.nodes) add_block(memory, node->block);
  return int64_t(memory.nodes.size()) * kBlockTokens;
}

BlockId CachePool::take() {
  std::optional<BlockId> block = pool_.take();
  if (!block) block = tree_.evict();
  SWAGE_CHECK(block.has_value(), Internal, "no block of the cache is left where there should be one");
  return *block;
}

bool CachePool::grow(SequenceMemory& memory, int64_t tokens) {
  const int64_t held = int64_t(memory.blocks.size() + memory.state.size());
  int64_t missing = blocks_of(tokens) - held;
  if (missing > available()) return false;
  while (int64_t(memory.state.size()) < state_blocks(layout_)) {
    memory.state.push_back(take());
    memory.cache.state.push_back(pool_.memory(memory.state.back()));
    --missing;
  }
  memory.cache.piece_bytes = block_bytes(layout_);
  for (; missing > 0; --missing) add_block(memory, take());
  return true;
}

void CachePool::offer(SequenceMemory& memory, std::span<const int64_t> ids, int64_t computed, int64_t prompt) {
  for (size_t b = memory.nodes.size(); (int64_t(b) + 1) * kBlockTokens <= computed; ++b) {
    if (!may_share(prompt, (int64_t(b) + 1) * kBlockTokens)) return;
    PrefixTree::Ids key;
    std::copy_n(ids.begin() + int64_t(b) * kBlockTokens, kBlockTokens, key.begin());
    PrefixTree::Node* node = tree_.insert(b == 0 ? nullptr : memory.nodes[b - 1], key, memory.blocks[b]);
    memory.nodes.push_back(node);
    if (node->block == memory.blocks[b]) continue;
    pool_.give_back(memory.blocks[b]);  // another sequence has computed the same numbers before
    memory.blocks[b] = node->block;
    memory.cache.blocks[b] = pool_.memory(node->block);
  }
}

void CachePool::leave(SequenceMemory& memory, int64_t computed) {
  if (layout_.reach == 0) return;
  for (size_t b = memory.first_held; b < memory.blocks.size(); ++b) {
    if ((int64_t(b) + 1) * kBlockTokens > computed - layout_.reach) return;
    memory.first_held = b + 1;
    if (b < memory.nodes.size()) continue;
    pool_.give_back(memory.blocks[b]);
    memory.blocks[b] = -1;
    memory.cache.blocks[b] = nullptr;
  }
}

void CachePool::release(SequenceMemory& memory) {
  for (size_t b = memory.nodes.size(); b < memory.blocks.size(); ++b) {
    if (memory.blocks[b] >= 0) pool_.give_back(memory.blocks[b]);
  }
  for (const BlockId block : memory.state) pool_.give_back(block);
  for (size_t n = memory.nodes.size(); n-- > 0;) tree_.release(memory.nodes[n]);
  memory = {};
}

}  // namespace swage::runtime
