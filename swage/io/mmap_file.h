// A regular file mapped read-only into memory.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string_view>

#include "swage/io/file_descriptor.h"

namespace swage::io {

// Thread-safe after construction. The file must not be cut short while it is mapped: touching a page that is no longer
// there ends the process with SIGBUS, and nothing in user space can prevent that. check_size(), called before each
// use of a tensor, turns all but that race into an error.
class MmapFile {
 public:
  // Error(Io) if the path cannot be opened, or is a folder, device, socket or pipe. An empty file gives empty bytes().
  explicit MmapFile(const std::filesystem::path& path);
  ~MmapFile();
  MmapFile(MmapFile&& other) noexcept;
  MmapFile& operator=(MmapFile&& other) noexcept;

  const std::filesystem::path& path() const { return file_.path(); }
  uint64_t size() const { return size_; }
  std::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }
  // Error(Io) if the file on disk is shorter than it was when mapped.
  void check_size() const;

  // Copies bytes through the descriptor, not the map: into a buffer that is reused this is faster than faulting in
  // pages, and they do not count as memory of this process.
  void read_at(char* to, uint64_t count, uint64_t offset) const { file_.read_at(to, count, offset); }
  // Starts reading the pages that hold [offset, offset + length) from disk; does not wait.
  void will_need(uint64_t offset, uint64_t length) const;
  // Takes the pages wholly inside [offset, offset + length) out of this process; they stay in the page cache.
  void dont_need(uint64_t offset, uint64_t length) const;

 private:
  void advise(uint64_t first, uint64_t last, int advice) const;

  FileDescriptor file_;
  void* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace swage::io
