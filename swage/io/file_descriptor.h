// An open file with its path for messages, and the few system calls swage needs. Every failure is Error(Io) that names
// the file, what was attempted, and the system's reason.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace swage::io {

// Owns one descriptor. read_at() and write_at() may be called from several threads; the rest needs one caller at a
// time.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  // Opens with open(2)'s flags; O_CLOEXEC is added. New files get the usual permissions (0666 less the umask).
  FileDescriptor(std::filesystem::path path, int flags);
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept;
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;

  bool is_open() const { return fd_ >= 0; }
  int get() const { return fd_; }
  const std::filesystem::path& path() const { return path_; }

  // Fills `to` with `count` bytes from `offset` on; an end of the file before them is an error too.
  void read_at(char* to, uint64_t count, uint64_t offset) const;
  // Writes all of `bytes` at `offset`.
  void write_at(std::string_view bytes, uint64_t offset) const;
  // Makes the file `bytes` long with its disk space reserved where the filesystem can do that.
  void reserve(uint64_t bytes) const;
  // Makes the file `bytes` long, cutting off what is beyond.
  void truncate(uint64_t bytes) const;
  // Asks the kernel to start writing this range to disk. Does not wait for it, but blocks while the disk's queue is
  // full.
  void start_writeback(uint64_t offset, uint64_t bytes) const;
  // Waits until contents and length are on disk.
  void sync() const;
  // Closes, reporting errors; the destructor swallows them.
  void close();

 private:
  std::filesystem::path path_;
  int fd_ = -1;
};

// Throws Error(Io): "PATH: cannot DO: reason", with errno's text.
[[noreturn]] void throw_io_error(const std::filesystem::path& path, std::string_view attempted);
// Waits until names created, renamed or removed in `folder` are on disk.
void sync_folder(const std::filesystem::path& folder);
// Contents of a small regular file; Error(Io) if it cannot be read or is longer than `max_bytes`.
std::string read_file(const std::filesystem::path& path, uint64_t max_bytes = uint64_t{256} << 20);

}  // namespace swage::io
