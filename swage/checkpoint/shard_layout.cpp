#include "swage/checkpoint/shard_layout.h"

#include <algorithm>
#include <utility>

#include "swage/base/error.h"
#include "swage/io/safetensors.h"
#include "swage/io/shard_index.h"

namespace swage::checkpoint {
namespace {

using Group = std::vector<io::TensorSpec>;  // the tensors of one shard

std::vector<Group> split(const std::vector<io::TensorSpec>& tensors, uint64_t shard_bytes) {
  std::vector<Group> groups(1);
  uint64_t filled = 0;
  for (const io::TensorSpec& spec : tensors) {
    const uint64_t bytes = io::data_bytes(spec);
    if (!groups.back().empty() && (filled > shard_bytes || bytes > shard_bytes - filled)) {
      groups.emplace_back();
      filled = 0;
    }
    groups.back().push_back(spec);
    filled += bytes;
  }
  return groups;
}

}  // namespace

ShardLayout plan_shards(const std::vector<io::TensorSpec>& tensors, uint64_t shard_bytes) {
  std::vector<Group> groups = split(tensors, shard_bytes);
  ShardLayout layout;
  for (size_t i = 0; i < groups.size(); ++i) {
    std::stable_sort(groups[i].begin(), groups[i].end(),
                     [](const auto& a, const auto& b) { return io::bits_of(a.dtype) > io::bits_of(b.dtype); });
    PlannedShard shard{io::shard_name(i + 1, groups.size()), io::safetensors_header(groups[i]), 0};
    shard.bytes = shard.header.size();
    for (io::TensorSpec& spec : groups[i]) {
      const uint64_t bytes = io::data_bytes(spec);
      const std::string name = spec.name;
      const bool inserted =
          layout.tensors.emplace(name, PlannedTensor{std::move(spec), i, shard.bytes, bytes, layout.tensors.size()})
              .second;
      SWAGE_CHECK(inserted, InvalidArgument, "writing a checkpoint: tensor \"", name, "\" is planned twice");
      shard.bytes += bytes;
      layout.tensor_bytes += bytes;
    }
    layout.shards.push_back(std::move(shard));
  }
  return layout;
}

uint64_t ShardLayout::file_bytes() const {
  uint64_t sum = 0;
  for (const PlannedShard& shard : shards) sum += shard.bytes;
  return sum;
}

std::string ShardLayout::index_text() const {
  io::ShardIndex index;
  for (const auto& [name, tensor] : tensors) index.weight_map.emplace_back(name, shards[tensor.shard].name);
  return io::shard_index_text(index, tensor_bytes);
}

}  // namespace swage::checkpoint
