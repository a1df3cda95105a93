// Tensors by name and where their bytes are: what a checkpoint's reader stands on, without libtorch.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "swage/io/tensor_spec.h"

namespace swage::io {

// One for each way of storing: safetensors files (checkpoint_files.h), a config alone (declared_tensors.h). Calls on a
// const store may come from several threads.
class TensorStore {
 public:
  virtual ~TensorStore() = default;

  // Where the tensors come from, as errors name it.
  const std::filesystem::path& folder() const { return folder_; }
  const std::vector<TensorSpec>& tensors() const { return specs_; }  // sorted by name
  const TensorSpec* find(std::string_view name) const;               // nullptr if absent
  // What in the folder contradicts what was read, a sentence each.
  const std::vector<std::string>& warnings() const { return warnings_; }
  uint64_t tensor_bytes() const;  // of all tensors together
  // From now on the tensor is not there. Not thread-safe.
  void hide(std::string_view name);

  // The files that the tensors are in, as they were named; none if they are in no file.
  virtual std::vector<std::filesystem::path> files() const = 0;

  // The functions below throw Error(CorruptData) naming a tensor that is absent, Error(Io) if its file shrank
  // meanwhile, Error(Internal) where there is no data.
  // The tensor's data, valid while this object lives.
  virtual std::string_view bytes(std::string_view name) const = 0;
  // Copies `count` bytes of the data from `offset` on, not through a map: for reading much once.
  virtual void read_at(std::string_view name, uint64_t offset, char* to, uint64_t count) const = 0;
  // Where the data lies: reading in this order reads each file from front to back.
  virtual std::pair<size_t, uint64_t> position_of(std::string_view name) const = 0;
  // Advice: soon needed, or done with.
  virtual void prefetch(std::string_view name, uint64_t offset, uint64_t count) const = 0;
  virtual void drop(std::string_view name) const = 0;

 protected:
  explicit TensorStore(std::filesystem::path folder) : folder_(std::move(folder)) {}
  TensorStore(TensorStore&&) = default;

  // Of the specs, which are sorted here. Once.
  void settle(std::vector<TensorSpec> specs);
  void warn(std::string sentence) { warnings_.push_back(std::move(sentence)); }
  // Error(CorruptData) if it is absent.
  const TensorSpec& spec_of(std::string_view name) const;

 private:
  size_t index_of(std::string_view name) const;  // tensors().size() if absent

  std::filesystem::path folder_;
  std::vector<TensorSpec> specs_;
  std::vector<std::string> warnings_;
};

}  // namespace swage::io
