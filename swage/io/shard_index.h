// model.safetensors.index.json: which shard file holds which tensor.
//   {"metadata": {"total_size": 269060552}, "weight_map": {"NAME": "model-00001-of-00002.safetensors", ...}}
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace swage::io {

struct ShardIndex {
  std::vector<std::pair<std::string, std::string>> weight_map;  // tensor -> shard file name, in the order of the file
};

inline constexpr std::string_view kSingleFileName = "model.safetensors";
inline constexpr std::string_view kIndexFileName = "model.safetensors.index.json";

// Error(CorruptData) naming `source` on anything that is not an index, and on shard names that are not plain names of
// .safetensors files in the same folder. `metadata` is not read: total_size is wrong in published checkpoints.
ShardIndex parse_shard_index(std::string_view text, std::string_view source);

// The index as transformers writes it: sorted, two spaces of indent, a newline at the end.
std::string shard_index_text(const ShardIndex& index, uint64_t total_size);

// "model.safetensors" for one shard, else "model-00002-of-00005.safetensors" for `number` 1.. of `count`.
std::string shard_name(size_t number, size_t count);

}  // namespace swage::io
