// A Hugging Face checkpoint folder as tensors by name: config.json, the index, and memory-mapped safetensors shards.
#pragma once
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "swage/base/json.h"
#include "swage/io/tensor_spec.h"

namespace swage::checkpoint {

// Thread-safe after construction. Errors name the file and the tensor.
class Reader {
 public:
  // Opens the folder, checks every shard's header and the index against them. Error(Io) if it is not there,
  // Error(Unsupported) for pickle checkpoints, Error(CorruptData) for anything inconsistent.
  explicit Reader(const std::filesystem::path& folder);
  ~Reader();
  Reader(Reader&&) noexcept;

  const std::filesystem::path& folder() const;
  const Json& config() const;                          // config.json
  const std::vector<io::TensorSpec>& tensors() const;  // sorted by name
  const io::TensorSpec* find(const std::string& name) const;

  // The tensor with its stored dtype, copied out of the map. F8E8M0 and the packed sub-byte types come as uint8.
  // Error(CorruptData) when it is absent.
  at::Tensor read(const std::string& name) const;
  // A view into the map: no copy, read-only, valid while the Reader lives.
  at::Tensor view(const std::string& name) const;
  // Raw bytes of the tensor's data in the map.
  std::string_view bytes(const std::string& name) const;
  // Advice to the kernel: soon needed (starts reading), or done with (drops the pages from this process).
  void prefetch(const std::string& name) const;
  void drop(const std::string& name) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

at::ScalarType scalar_type_of(io::Dtype dtype);  // Error(Unsupported) for types ATen lacks
io::Dtype dtype_of(at::ScalarType type);

}  // namespace swage::checkpoint
