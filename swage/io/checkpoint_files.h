// The safetensors files of a checkpoint folder as one set of named tensors, without libtorch.
#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "swage/io/mmap_file.h"
#include "swage/io/tensor_store.h"

namespace swage::io {

// Maps all shards and checks their headers against each other and the index. Thread-safe after construction.
class CheckpointFiles : public TensorStore {
 public:
  // Takes model.safetensors, else model.safetensors.index.json and its shards.
  // Error(Io): no such folder, no weights in it, or a shard is missing. Error(Unsupported): only pickle files.
  // Error(CorruptData): a broken file; the index names a tensor its shard lacks, or a shard holds one the index does
  // not place there.
  explicit CheckpointFiles(const std::filesystem::path& folder);

  size_t file_count() const { return files_.size(); }
  const std::filesystem::path& file_of(std::string_view name) const;

  std::vector<std::filesystem::path> files() const override;
  std::string_view bytes(std::string_view name) const override;
  void read_at(std::string_view name, uint64_t offset, char* to, uint64_t count) const override;
  std::pair<size_t, uint64_t> position_of(std::string_view name) const override;
  void prefetch(std::string_view name, uint64_t offset, uint64_t count) const override;
  void drop(std::string_view name) const override;

 private:
  struct Place {
    size_t file = 0;
    uint64_t offset = 0;
    uint64_t bytes = 0;
  };
  void open_single(const std::filesystem::path& path);
  void warn_of_index(const std::filesystem::path& path);
  void open_indexed(const std::filesystem::path& path);
  const Place& place_of(std::string_view name) const;

  std::vector<MmapFile> files_;
  std::map<std::string, Place, std::less<>> places_;
};

}  // namespace swage::io
