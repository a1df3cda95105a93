// Writes a checkpoint folder tensor by tensor, in any order, while later tensors are still being computed. The folder
// appears whole or not at all: everything goes to a hidden sibling, which finish() syncs and renames.
#pragma once
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "swage/base/trace.h"
#include "swage/checkpoint/output_folder.h"
#include "swage/io/tensor_spec.h"

namespace swage::checkpoint {

struct WriterOptions {
  uint64_t shard_bytes = uint64_t{5} << 30;  // no shard holds more tensor bytes than this, but for one large tensor
  bool overwrite = false;                    // replace an existing non-empty folder, at the very end
  bool resume = false;                       // go on with the shards that an earlier run left in the folder
  Trace* trace = nullptr;  // is told of writing, syncing, and what the thread does that sends pages to the disk
};

// put(), put_bytes() and put_part() may be called from several threads; everything else by one thread at a time.
class Writer {
 public:
  // Names, types and shapes of everything that will be written, in the order of the shards. The layout of all files is
  // fixed here, so the bytes do not depend on the order of put(). Shards: "model.safetensors" if one suffices, else
  // "model-00001-of-0000N.safetensors" with an index. Inside a shard, wide elements come first (so that each tensor is
  // aligned), else in the order given. All disk space is reserved here. Missing parent folders are made. What a dead
  // run with the same target left behind is removed. Error(Io) if the place is not writable or lacks the space,
  // Error(InvalidArgument) if `target` is a file, if it exists, is not empty, and `overwrite` is not set, if another
  // run writes it or an unfinished one is to be kept, or if a name comes twice.
  Writer(const std::filesystem::path& target, const std::vector<io::TensorSpec>& tensors,
         const WriterOptions& options = {});
  // In a folder that the caller has opened and looked at. With `resume`, nothing counts as written but what restore()
  // names; Error(CorruptData) if the shards are not those that the earlier run laid out.
  Writer(OutputFolder folder, const std::vector<io::TensorSpec>& tensors, const WriterOptions& options = {});
  // Without finish(): removes the work folder, unless it is to be kept.
  ~Writer();
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // Writes one planned tensor; thread-safe. Error(Internal) if it is unknown, of another type or shape, or written
  // twice. Shape and type are those that Reader::read() gives.
  void put(const std::string& name, const at::Tensor& tensor);
  void put_bytes(const std::string& name, std::string_view bytes);
  // Writes a piece of a planned tensor, from byte `offset` of its data on. The pieces of a tensor may come in any order
  // from any thread and must not overlap; it is written once they add up to its size. Error(Internal) for a piece
  // outside of it, and for more bytes than it has.
  void put_part(const std::string& name, uint64_t offset, std::string_view bytes);
  // Waits until all that was put is on the disk. Returns the names of the tensors that were completed since the last
  // call.
  std::vector<std::string> sync_written();
  // Counts a tensor as written, by the run that is gone on with. Error(Internal) as for put().
  void restore(const std::string& name);
  // A planned tensor that was written, as Reader::read() gives it.
  at::Tensor read_back(const std::string& name) const;
  bool plans(const std::string& name) const;
  // Whether the work folder stays if there is no finish(): an interrupted run can then be gone on with.
  void keep(bool kept);
  // Adds a small file (config.json, tokenizer files), written and synced. Error(Internal) if `name` is not a plain name
  // or is one of the weight files.
  void add_file(const std::string& name, std::string_view contents);
  void copy_file(const std::filesystem::path& source, const std::string& name);
  // The folder being filled, for reading back before it is final.
  const std::filesystem::path& temporary() const;
  // Beside it: for what a run that goes on with this one needs. Gone after finish().
  const std::filesystem::path& work() const;
  // Flushes the shards and writes the index, so that `temporary()` can be opened with a Reader. Error(Internal) naming
  // a planned tensor that was never put.
  void close_shards();
  // Syncs everything and renames the temporary folder to the target. An old target is exchanged for the new one in one
  // step and then deleted. Error(InvalidArgument) if a target appeared meanwhile and `overwrite` is not set.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace swage::checkpoint
