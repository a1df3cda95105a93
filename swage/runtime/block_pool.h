// The memory of the KV cache: blocks of one size, taken and given back.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace swage::runtime {

using BlockId = int32_t;

// Not thread-safe. Pages of a block are the system's until it is first written to.
class BlockPool {
 public:
  BlockPool(int64_t block_bytes, int64_t count);
  int64_t block_bytes() const { return block_bytes_; }
  int64_t count() const { return count_; }
  int64_t left() const { return int64_t(free_.size()); }
  // Nothing if none is left.
  std::optional<BlockId> take();
  // Error(Internal) for one that is not taken.
  void give_back(BlockId block);
  std::byte* memory(BlockId block) const;

 private:
  const int64_t block_bytes_, count_;
  at::Tensor memory_;
  std::vector<BlockId> free_;  // the one given back last is taken first: its pages are in the cache
  std::vector<bool> taken_;
};

}  // namespace swage::runtime
