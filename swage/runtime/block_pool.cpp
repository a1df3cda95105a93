#include "swage/runtime/block_pool.h"

#include <ATen/ops/empty.h>

#include <limits>

#include "swage/base/error.h"

namespace swage::runtime {
namespace {

constexpr int64_t kAlignment = 64;  // of a block: a line of the processor's cache

}  // namespace

BlockPool::BlockPool(int64_t block_bytes, int64_t count)
    : block_bytes_((block_bytes + kAlignment - 1) / kAlignment * kAlignment),
      count_(count),
      taken_(size_t(count), false) {
  SWAGE_CHECK(block_bytes > 0 && count > 0 && count <= std::numeric_limits<BlockId>::max(), Internal, count,
              " blocks of ", block_bytes, " bytes");
  memory_ = at::empty({block_bytes_ * count}, at::kByte);
  free_.reserve(size_t(count));
  for (int64_t block = count - 1; block >= 0; --block) free_.push_back(BlockId(block));
}

std::optional<BlockId> BlockPool::take() {
  if (free_.empty()) return {};
  const BlockId block = free_.back();
  free_.pop_back();
  taken_[size_t(block)] = true;
  return block;
}

void BlockPool::give_back(BlockId block) {
  SWAGE_CHECK(block >= 0 && block < count_ && taken_[size_t(block)], Internal, "block ", block,
              " of the cache is given back, but was not taken");
  taken_[size_t(block)] = false;
  free_.push_back(block);
}

std::byte* BlockPool::memory(BlockId block) const {
  return static_cast<std::byte*>(memory_.data_ptr()) + int64_t(block) * block_bytes_;
}

}  // namespace swage::runtime
