// The safetensors files of a checkpoint folder as one set of named tensors, without libtorch.
#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "swage/io/mmap_file.h"
#include "swage/io/tensor_spec.h"

namespace swage::io {

// Maps all shards and checks their headers against each other and the index. Thread-safe after construction.
class CheckpointFiles {
 public:
  // Takes model.safetensors, else model.safetensors.index.json and its shards.
  // Error(Io): no such folder, no weights in it, or a shard is missing. Error(Unsupported): only pickle files.
  // Error(CorruptData): a broken file; the index names a tensor its shard lacks, or a shard holds one the index does
  // not place there.
  explicit CheckpointFiles(const std::filesystem::path& folder);
  // Tensors that a config makes: names, types and shapes without data. Whatever would look at data is Error(Internal).
  CheckpointFiles(std::filesystem::path folder, std::vector<TensorSpec> tensors);

  const std::filesystem::path& folder() const { return folder_; }
  const std::vector<TensorSpec>& tensors() const { return specs_; }  // sorted by name
  const TensorSpec* find(std::string_view name) const;               // nullptr if absent
  size_t file_count() const { return files_.size(); }
  std::vector<std::filesystem::path> files() const;
  // What in the folder contradicts what was read, a sentence each: shards of an index that are passed over for
  // model.safetensors.
  const std::vector<std::string>& warnings() const { return warnings_; }
  // From now on the tensor is not there. Not thread-safe.
  void hide(std::string_view name);
  uint64_t tensor_bytes() const { return tensor_bytes_; }  // of all tensors together

  // The functions below throw Error(CorruptData) naming a tensor that is absent, Error(Io) if its file shrank
  // meanwhile.
  const std::filesystem::path& file_of(std::string_view name) const;
  // The tensor's data in the map, valid while this object lives.
  std::string_view bytes(std::string_view name) const;
  // Copies `count` bytes of the data from `offset` on, without the map (MmapFile::read_at).
  void read_at(std::string_view name, uint64_t offset, char* to, uint64_t count) const;
  // Where the data lies: the file's number in the order of the names, and the offset in it.
  std::pair<size_t, uint64_t> position_of(std::string_view name) const;
  // Advice to the kernel: soon needed (starts reading), or done with (drops the pages from this process).
  void prefetch(std::string_view name) const;
  void prefetch(std::string_view name, uint64_t offset, uint64_t count) const;
  void drop(std::string_view name) const;

 private:
  struct Place {
    size_t file = 0;
    uint64_t offset = 0;
    uint64_t bytes = 0;
  };
  void open_single(const std::filesystem::path& path);
  void warn_of_index(const std::filesystem::path& path);
  void open_indexed(const std::filesystem::path& path);
  size_t index_of(std::string_view name) const;  // tensors().size() if absent
  const Place& place_of(std::string_view name) const;

  std::filesystem::path folder_;
  std::vector<MmapFile> files_;
  std::vector<TensorSpec> specs_;
  std::vector<Place> places_;  // beside specs_
  uint64_t tensor_bytes_ = 0;
  std::vector<std::string> warnings_;
};

}  // namespace swage::io
