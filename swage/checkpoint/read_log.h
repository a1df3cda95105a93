// Digests of what a run reads of a checkpoint's tensors. The files can change while it reads, with their times put
// back: what was read first is known here, so that what is read again, or lies there at the end or when an interrupted
// run is gone on with, can be compared.
#pragma once
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "swage/base/json.h"
#include "swage/io/checkpoint_files.h"

namespace swage::checkpoint {

// Thread-safe.
class ReadLog {
 public:
  // Error(CorruptData) if the same piece of the tensor was noted with other bytes.
  void note(const std::string& tensor, uint64_t offset, std::string_view bytes);
  bool knows(const std::string& tensor, uint64_t offset, uint64_t bytes) const;
  // What was noted since the last call, for a journal: {"TENSOR": [[offset, bytes, "digest"], ...], ...}.
  Json take_news();
  // Takes up what another process noted.
  void restore(const Json& news);
  // Reads everything that was noted once more. The names of tensors that have other bytes now, or none; at most `most`
  // of them.
  std::vector<std::string> changed(const io::CheckpointFiles& files, size_t most) const;

 private:
  using Range = std::pair<uint64_t, uint64_t>;  // offset, bytes
  void add(const std::string& tensor, Range range, uint64_t digest, bool is_news);

  mutable std::mutex mutex_;  // guards all below
  std::map<std::string, std::map<Range, uint64_t>> pieces_;
  std::map<std::string, std::vector<Range>> news_;
};

}  // namespace swage::checkpoint
