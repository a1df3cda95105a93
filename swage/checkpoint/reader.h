// A Hugging Face checkpoint folder as tensors by name: config.json, the index, and memory-mapped safetensors shards.
#pragma once
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "swage/base/json.h"
#include "swage/io/tensor_store.h"

namespace swage::checkpoint {

class ReadLog;

// Thread-safe after construction. Errors name the file and the tensor.
class Reader {
 public:
  // Opens the folder, checks every shard's header and the index against them. Error(Io) if it is not there,
  // Error(Unsupported) for pickle checkpoints, Error(CorruptData) for anything inconsistent.
  // What is read is noted in `log`, if there is one, which must outlive this.
  explicit Reader(const std::filesystem::path& folder, ReadLog* log = nullptr);
  // Tensors that lie elsewhere, and the config.json that goes with them; no file is opened.
  Reader(std::unique_ptr<io::TensorStore> store, Json config);
  ~Reader();
  Reader(Reader&&) noexcept;

  const std::filesystem::path& folder() const;
  // What in the folder contradicts itself, and what was made of it, a sentence each.
  const std::vector<std::string>& warnings() const;
  // config.json, an object, untied if the file has a head of its own (tied_head.h); a head that repeats the embedding
  // of a tied model is not among the tensors. Error(Io) if the folder has none; a broken one is found when the Reader
  // is made.
  const Json& config() const;
  const std::vector<io::TensorSpec>& tensors() const;  // sorted by name
  const io::TensorSpec* find(const std::string& name) const;

  // The tensor with its stored dtype, copied out of the map. F8E8M0 comes as uint8; so do the packed sub-byte types,
  // whose last dimension then counts bytes. Error(CorruptData) when it is absent.
  at::Tensor read(const std::string& name) const;
  // Notes the tensor in the log, unless it is there: for those who use a view. read(), bytes() and read_bytes() note
  // what they give.
  void note(const std::string& name) const;
  // A view into the map: no copy, read-only (writing to it ends the process), valid while the Reader lives. A tensor
  // that a foreign writer placed off its natural alignment is copied instead.
  at::Tensor view(const std::string& name) const;
  // Raw bytes of the tensor's data in the map.
  std::string_view bytes(const std::string& name) const;
  // Copies `count` bytes of the tensor's data from `offset` on into `to`, not through the map: for reading much once.
  void read_bytes(const std::string& name, uint64_t offset, char* to, uint64_t count) const;
  // The same for `runs` runs of `count` bytes each, `stride` bytes apart; one after the other in `to`.
  void read_runs(const std::string& name, uint64_t offset, uint64_t stride, uint64_t runs, char* to,
                 uint64_t count) const;
  // Number of the tensor's file and offset in it: reading in this order reads each file from front to back.
  std::pair<size_t, uint64_t> position_of(const std::string& name) const;
  // The files that the tensors are in, as they were named.
  std::vector<std::filesystem::path> files() const;
  // Advice to the kernel: soon needed (starts reading), or done with (drops the pages from this process).
  void prefetch(const std::string& name) const;
  void prefetch(const std::string& name, uint64_t offset, uint64_t count) const;
  void drop(const std::string& name) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The element type in which read() gives a stored type: uint8 for F8E8M0 and the sub-byte types.
at::ScalarType scalar_type_of(io::Dtype dtype);
// The stored type of a tensor's elements; Error(Unsupported) for those the file format lacks.
io::Dtype dtype_of(at::ScalarType type);
// The shape in which read() gives a tensor: the stored one, but for sub-byte types the last dimension counts bytes.
// Error(Unsupported) if a row of these does not fill whole bytes.
std::vector<int64_t> readable_shape(const io::TensorSpec& spec);

}  // namespace swage::checkpoint
