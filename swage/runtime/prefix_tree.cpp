#include "swage/runtime/prefix_tree.h"

#include <algorithm>

#include "swage/base/error.h"

namespace swage::runtime {

std::vector<PrefixTree::Node*> PrefixTree::match(std::span<const int64_t> ids, int64_t most_blocks) {
  std::vector<Node*> path;
  Node* at = &root_;
  for (int64_t b = 0; b < most_blocks && (b + 1) * kBlockTokens <= int64_t(ids.size()); ++b) {
    Ids key;
    std::copy_n(ids.begin() + b * kBlockTokens, kBlockTokens, key.begin());
    const auto found = at->children.find(key);
    if (found == at->children.end()) break;
    at = found->second.get();
    use(at);
    path.push_back(at);
  }
  return path;
}

PrefixTree::Node* PrefixTree::insert(Node* parent, const Ids& ids, BlockId block) {
  Node* above = parent == nullptr ? &root_ : parent;
  std::unique_ptr<Node>& place = above->children[ids];
  if (!place) {
    place = std::make_unique<Node>();
    place->parent = above;
    place->ids = ids;
    place->block = block;
    ++size_;
    ++unused_;
    update_leaf(above);
  }
  use(place.get());
  return place.get();
}

void PrefixTree::use(Node* node) {
  if (node->users == 0) {
    leaves_.erase({node->last_use, node});
    --unused_;
  }
  ++node->users;
  node->last_use = ++clock_;
}

void PrefixTree::release(Node* node) {
  SWAGE_CHECK(node->users > 0, Internal, "a block of the prefix tree is released by nobody who used it");
  if (--node->users > 0) return;
  node->last_use = ++clock_;
  ++unused_;
  update_leaf(node);
}

void PrefixTree::update_leaf(Node* node) {
  if (node == &root_) return;
  if (node->users == 0 && node->children.empty())
    leaves_.insert({node->last_use, node});
  else
    leaves_.erase({node->last_use, node});
}

std::optional<BlockId> PrefixTree::evict() {
  if (leaves_.empty()) return {};
  Node* node = leaves_.begin()->second;
  leaves_.erase(leaves_.begin());
  const BlockId block = node->block;
  Node* parent = node->parent;
  const Ids key = node->ids;
  parent->children.erase(key);
  --size_;
  --unused_;
  update_leaf(parent);
  return block;
}

}  // namespace swage::runtime
