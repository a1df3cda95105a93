// Where each tensor of a checkpoint that is about to be written will lie: shard and offset, fixed before any data.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "swage/io/tensor_spec.h"

namespace swage::checkpoint {

struct PlannedTensor {
  io::TensorSpec spec;
  size_t shard = 0;
  uint64_t offset = 0;  // from the start of the shard's file
  uint64_t bytes = 0;
  size_t number = 0;  // among all tensors
};

struct PlannedShard {
  std::string name;    // of the file
  std::string header;  // its first bytes
  uint64_t bytes = 0;  // of the whole file
};

struct ShardLayout {
  std::vector<PlannedShard> shards;
  std::map<std::string, PlannedTensor> tensors;
  uint64_t tensor_bytes = 0;  // of all tensors together

  uint64_t file_bytes() const;     // of all shards together
  std::string index_text() const;  // model.safetensors.index.json
};

// Fills shards in the order given, a new one where the next tensor would exceed `shard_bytes`. Inside a shard wide
// elements come first: with a header of whole 8 bytes each tensor is then aligned, which torch's loader needs.
// Error(InvalidArgument) for a name given twice.
ShardLayout plan_shards(const std::vector<io::TensorSpec>& tensors, uint64_t shard_bytes);

}  // namespace swage::checkpoint
