// Blocks of the cache by what stands in them: a tree whose nodes are full blocks of tokens, so that sequences that
// begin alike use the same ones. Blocks that nobody uses stay until their place is needed; the one that was used
// longest ago goes first.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "swage/ops/paged_attention.h"
#include "swage/runtime/block_pool.h"

namespace swage::runtime {

using ops::kBlockTokens;

// Not thread-safe.
class PrefixTree {
 public:
  using Ids = std::array<int64_t, size_t(kBlockTokens)>;
  struct Node {
    Node* parent = nullptr;
    Ids ids = {};
    BlockId block = -1;
    int64_t users = 0;
    uint64_t last_use = 0;
    std::map<Ids, std::unique_ptr<Node>> children;
  };

  // The longest path of whole blocks that `ids` begins with, at most `most_blocks`; the caller uses each node of it
  // until it calls release().
  std::vector<Node*> match(std::span<const int64_t> ids, int64_t most_blocks);
  // The node of `ids` behind `parent`, null: of the first tokens, which the caller uses from now on. If there is one
  // already, its block stays, and the caller's own is not needed.
  Node* insert(Node* parent, const Ids& ids, BlockId block);
  // Ends a use of a node.
  void release(Node* node);
  // Takes the block out that has no user and was used longest ago; nothing if all are used.
  std::optional<BlockId> evict();
  // Blocks that evict() would give, one after the other, and all.
  int64_t unused() const { return unused_; }
  int64_t size() const { return size_; }

 private:
  void use(Node* node);
  void update_leaf(Node* node);

  Node root_;
  std::set<std::pair<uint64_t, Node*>> leaves_;  // unused ones without children, by their last use
  uint64_t clock_ = 0;
  int64_t unused_ = 0, size_ = 0;
};

}  // namespace swage::runtime
