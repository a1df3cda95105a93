#include "swage/runtime/prefix_tree.h"

#include <gtest/gtest.h>

#include <numeric>

#include "swage/base/error.h"
#include "swage/runtime/sequence_cache.h"

namespace swage::runtime {
namespace {

PrefixTree::Ids ids_from(int64_t first) {
  PrefixTree::Ids out;
  std::iota(out.begin(), out.end(), first);
  return out;
}

std::vector<int64_t> text_of(std::initializer_list<int64_t> firsts) {
  std::vector<int64_t> out;
  for (const int64_t first : firsts) {
    const PrefixTree::Ids ids = ids_from(first);
    out.insert(out.end(), ids.begin(), ids.end());
  }
  return out;
}

TEST(PrefixTree, FindsTheLongestBeginningAndEvictsWhatWasUsedLongestAgo) {
  PrefixTree tree;
  PrefixTree::Node* a = tree.insert(nullptr, ids_from(0), 10);
  PrefixTree::Node* b = tree.insert(a, ids_from(100), 11);
  PrefixTree::Node* c = tree.insert(a, ids_from(200), 12);
  EXPECT_EQ(tree.insert(nullptr, ids_from(0), 99), a);  // the block that is there stays
  EXPECT_EQ(a->block, 10);
  EXPECT_EQ(tree.size(), 3);
  EXPECT_FALSE(tree.evict().has_value());
  EXPECT_EQ(tree.match(text_of({0, 200, 300}), 5), (std::vector{a, c}));
  EXPECT_EQ(tree.match(text_of({0, 200}), 1), std::vector{a});
  EXPECT_TRUE(tree.match(text_of({5}), 5).empty());
  for (int uses = 0; uses < 4; ++uses) tree.release(a);
  EXPECT_THROW(tree.release(a), Error);
  for (int uses = 0; uses < 2; ++uses) tree.release(c);
  tree.release(b);
  EXPECT_EQ(tree.unused(), 3);
  EXPECT_EQ(tree.evict(), 12);
  EXPECT_EQ(tree.evict(), 11);
  EXPECT_EQ(tree.evict(), 10);  // a parent behind its children
  EXPECT_FALSE(tree.evict().has_value());
  EXPECT_EQ(tree.size() + tree.unused(), 0);
}

TEST(BlockPool, GivesEachBlockOnce) {
  BlockPool pool(100, 3);
  EXPECT_EQ(pool.block_bytes(), 128);
  const BlockId a = pool.take().value(), b = pool.take().value(), c = pool.take().value();
  EXPECT_FALSE(pool.take().has_value());
  EXPECT_EQ(std::set({a, b, c}), (std::set<BlockId>{0, 1, 2}));
  pool.give_back(b);
  EXPECT_THROW(pool.give_back(b), Error);
  EXPECT_EQ(pool.take(), b);
  EXPECT_EQ(pool.memory(1) - pool.memory(0), 128);
}

model::CacheLayout layout_of(int64_t block_bytes, int64_t state_bytes) {
  model::CacheLayout out;
  out.block_bytes = block_bytes;
  out.state_bytes = state_bytes;
  return out;
}

TEST(CachePool, SequencesThatBeginAlikeUseTheSameBlocks) {
  CachePool pool(layout_of(64, 0), {8, true, 0});
  SequenceMemory one, two;
  const std::vector<int64_t> text = text_of({0, 100, 200});
  EXPECT_EQ(pool.share(one, text, 48), 0);
  EXPECT_TRUE(pool.grow(one, 48));
  pool.offer(one, text, 40, 48);  // two of them are full
  EXPECT_EQ(pool.share(two, text, 48), 32);
  EXPECT_EQ(two.blocks, std::vector(one.blocks.begin(), one.blocks.begin() + 2));
  EXPECT_TRUE(pool.grow(two, 48));
  EXPECT_EQ(pool.available(), 4);
  pool.offer(one, text, 48, 48);
  pool.offer(two, text, 48, 48);  // what the other has computed is used, its own given back
  EXPECT_EQ(two.blocks, one.blocks);
  EXPECT_EQ(pool.available(), 5);
  pool.release(one);
  pool.release(two);
  EXPECT_EQ(pool.available(), 8);
  EXPECT_EQ(pool.kept(), 3);
  SequenceMemory all;
  EXPECT_TRUE(pool.grow(all, 8 * 16));  // the kept ones go
  EXPECT_EQ(pool.kept(), 0);
  SequenceMemory none;
  EXPECT_FALSE(pool.grow(none, 1));
  EXPECT_TRUE(none.is_empty());
  // The last token is always computed: its logits are wanted.
  pool.release(all);
}

TEST(CachePool, TheLastTokenIsNeverShared) {
  CachePool pool(layout_of(64, 0), {8, true, 0});
  SequenceMemory one, two;
  const std::vector<int64_t> text = text_of({0, 100});
  pool.grow(one, 32);
  pool.offer(one, text, 32, 32);
  EXPECT_EQ(pool.share(two, text, 32), 16);
  pool.release(one);
  pool.release(two);
}

TEST(CachePool, StatesLieInBlocksAndAreNotShared) {
  CachePool pool(layout_of(64, 150), {8, true, 0});
  EXPECT_EQ(CachePool::state_blocks(pool.layout()), 3);
  EXPECT_EQ(pool.most_tokens(), 5 * 16);
  SequenceMemory one, two;
  EXPECT_TRUE(pool.grow(one, 20));
  EXPECT_EQ(one.state.size(), 3u);
  EXPECT_EQ(one.blocks.size(), 2u);
  pool.offer(one, text_of({0}), 16, 20);
  EXPECT_EQ(pool.share(two, text_of({0, 1}), 32), 0);
  EXPECT_FALSE(pool.grow(two, 16));
  pool.release(one);
  EXPECT_EQ(pool.available(), 8);
  CachePool without_keys(layout_of(0, 150), {2, true, 0});
  EXPECT_TRUE(without_keys.grow(two, 100000));
  EXPECT_EQ(two.state.size(), 1u);
  without_keys.release(two);
}

TEST(CachePool, SequencesOfOtherKeysDoNotShare) {
  CachePool pool(layout_of(64, 0), {8, true, 20});
  SequenceMemory one, two, longer;
  const std::vector<int64_t> text = text_of({0, 100});
  pool.grow(one, 32);
  pool.offer(one, text, 32, 20);  // the first block alone: the second ends behind the bound
  EXPECT_EQ(pool.share(two, text, 20), 16);
  EXPECT_EQ(pool.share(longer, text, 21), 0);
  pool.release(one);
  pool.release(two);
}

}  // namespace
}  // namespace swage::runtime
