// Writes a checkpoint folder tensor by tensor, in any order, while later tensors are still being computed. The folder
// appears whole or not at all: everything goes to a hidden sibling, which finish() syncs and renames.
#pragma once
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "swage/base/json.h"
#include "swage/io/tensor_spec.h"

namespace swage::checkpoint {

struct WriterOptions {
  uint64_t shard_bytes = uint64_t{5} << 30;  // no shard holds more tensor bytes than this, but for one large tensor
  bool overwrite = false;                    // replace an existing non-empty folder, at the very end
};

class Writer {
 public:
  // Names, types and shapes of everything that will be written, in the order of the shards. The layout of all files is
  // fixed here, so the bytes do not depend on the order of put(). Shards: "model.safetensors" if one suffices, else
  // "model-00001-of-0000N.safetensors" with an index. Error(Io) if the place is not writable or lacks the space,
  // Error(InvalidArgument) if `target` exists, is not empty, and `overwrite` is not set.
  Writer(const std::filesystem::path& target, const std::vector<io::TensorSpec>& tensors, const WriterOptions& options = {});
  // Without finish(): removes the temporary folder.
  ~Writer();

  // Writes one planned tensor; thread-safe. Error(Internal) if it is unknown, of another type or shape, or written twice.
  void put(const std::string& name, const at::Tensor& tensor);
  void put_bytes(const std::string& name, std::string_view bytes);
  // Adds a small file (config.json, tokenizer files), written and synced.
  void add_file(const std::string& name, std::string_view contents);
  void copy_file(const std::filesystem::path& source, const std::string& name);
  // The folder being filled, for reading back before it is final.
  const std::filesystem::path& temporary() const;
  // Flushes the shards and writes the index, so that `temporary()` can be opened with a Reader. Error(Internal) naming
  // a planned tensor that was never put.
  void close_shards();
  // Syncs everything and renames the temporary folder to the target.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace swage::checkpoint
