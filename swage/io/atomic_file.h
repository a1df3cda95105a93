// A file that appears under its name whole and on disk, or not at all: written to a temporary sibling, synced, renamed,
// and the folder synced.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>

#include "swage/io/file_descriptor.h"

namespace swage::io {

// For one thread. All failures are Error(Io).
class AtomicFile {
 public:
  // Refuses a target that is there and no regular file (a device, a pipe, a folder).
  explicit AtomicFile(const std::filesystem::path& target);
  // Without commit(): removes the temporary file.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::string_view bytes);  // appends
  // Replaces the target, if any.
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path temporary_;
  FileDescriptor file_;
  uint64_t size_ = 0;
  bool committed_ = false;
};

void write_file_atomically(const std::filesystem::path& target, std::string_view contents);

// A name for a hidden temporary sibling of `target`, not in use now: ".NAME.partial-HOST-PID-N".
std::filesystem::path temporary_sibling(const std::filesystem::path& target);
// The name of this machine, fit for a file name.
std::string host_name();

}  // namespace swage::io
