// Digests of what a run reads of a checkpoint's tensors. The files can change while it reads, with their times put
// back: what was read first is known here, so that what is read again, or lies there at the end or when an interrupted
// run is gone on with, can be compared.
#pragma once
#include <compare>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "swage/base/json.h"
#include "swage/io/tensor_store.h"

namespace swage::checkpoint {

// Thread-safe.
class ReadLog {
 public:
  // Error(CorruptData) if the same piece of the tensor was noted with other bytes.
  void note(const std::string& tensor, uint64_t offset, std::string_view bytes);
  // The same for a piece of `runs` runs of equal length, each `stride` bytes after the one before; `bytes` holds them
  // one after the other. A note a run would take more memory than short runs do.
  void note_runs(const std::string& tensor, uint64_t offset, uint64_t stride, uint64_t runs, std::string_view bytes);
  bool knows(const std::string& tensor, uint64_t offset, uint64_t bytes) const;
  // What was noted since the last call, for a journal: {"TENSOR": [[offset, bytes, "digest"], ...], ...}, with
  // [offset, bytes of a run, "digest", runs, stride] for several runs.
  Json take_news();
  // Takes up what another process noted.
  void restore(const Json& news);
  // Reads everything that was noted once more. The names of tensors that have other bytes now, or none; at most `most`
  // of them.
  std::vector<std::string> changed(const io::TensorStore& files, size_t most) const;

 private:
  struct Piece {
    uint64_t offset = 0, bytes = 0;  // of a run
    uint64_t runs = 1, stride = 0;
    auto operator<=>(const Piece&) const = default;
  };
  void add(const std::string& tensor, const Piece& piece, uint64_t digest, bool is_news);
  static bool differs(const io::TensorStore& files, const std::string& tensor, const Piece& piece, uint64_t digest);

  mutable std::mutex mutex_;  // guards all below
  std::map<std::string, std::map<Piece, uint64_t>> pieces_;
  std::map<std::string, std::vector<Piece>> news_;
};

}  // namespace swage::checkpoint
