#include "swage/io/file_descriptor.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "swage/base/error.h"
#include "swage/base/file.h"

namespace swage::io {

FileDescriptor::FileDescriptor(std::filesystem::path path, int flags) : path_(std::move(path)) {
  do {
    fd_ = ::open(path_.c_str(), flags | O_CLOEXEC, 0666);
  } while (fd_ < 0 && errno == EINTR);
  if (fd_ < 0) throw_io_error(path_, (flags & O_CREAT) != 0 ? "create" : "open");
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

FileDescriptor::FileDescriptor(FileDescriptor&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)) {}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  return *this;
}

void FileDescriptor::read_at(char* to, uint64_t count, uint64_t offset) const {
  while (count > 0) {
    const ssize_t got = ::pread(fd_, to, count, off_t(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_io_error(path_, "read");
    SWAGE_CHECK(got > 0, Io, path_.string(), ": ends at ", offset, ", ", count,
                " bytes short of what was there before");
    to += got;
    count -= uint64_t(got);
    offset += uint64_t(got);
  }
}

void FileDescriptor::write_at(std::string_view bytes, uint64_t offset) const {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd_, bytes.data(), bytes.size(), off_t(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw_io_error(path_, "write");
    bytes.remove_prefix(size_t(written));
    offset += uint64_t(written);
  }
}

void FileDescriptor::reserve(uint64_t bytes) const {
  if (bytes == 0) return;
  int result = 0;
  do {
    result = ::fallocate(fd_, 0, 0, off_t(bytes));
  } while (result != 0 && errno == EINTR);
  if (result == 0) return;
  // posix_fallocate would write zeros here; a plain length is enough where nothing can be reserved.
  const bool lacking = errno == EOPNOTSUPP || errno == ENOSYS;
  if (lacking && ::ftruncate(fd_, off_t(bytes)) == 0) return;
  throw_io_error(path_, cat("reserve ", bytes, " bytes"));
}

void FileDescriptor::truncate(uint64_t bytes) const {
  while (::ftruncate(fd_, off_t(bytes)) != 0) {
    if (errno != EINTR) throw_io_error(path_, cat("cut the file to ", bytes, " bytes"));
  }
}

void FileDescriptor::start_writeback(uint64_t offset, uint64_t bytes) const {
  // Only advice: what fails here comes up in sync().
  (void)::sync_file_range(fd_, off_t(offset), off_t(bytes), SYNC_FILE_RANGE_WRITE);
}

void FileDescriptor::sync() const {
  while (::fsync(fd_) != 0) {
    if (errno != EINTR) throw_io_error(path_, "sync");
  }
}

void FileDescriptor::close() {
  const int fd = std::exchange(fd_, -1);
  // On Linux the descriptor is gone even after EINTR.
  if (fd >= 0 && ::close(fd) != 0 && errno != EINTR) throw_io_error(path_, "close");
}

void throw_io_error(const std::filesystem::path& path, std::string_view attempted) {
  const int code = errno;
  throw Error(ErrorKind::Io, cat(path.string(), ": cannot ", attempted, ": ", std::generic_category().message(code)));
}

void sync_folder(const std::filesystem::path& folder) {
  const FileDescriptor opened(folder, O_RDONLY | O_DIRECTORY);
  // Some network filesystems refuse to sync a folder; their renames are as durable as they get.
  while (::fsync(opened.get()) != 0) {
    if (errno == EINVAL || errno == ENOTSUP) return;
    if (errno != EINTR) throw_io_error(folder, "sync");
  }
}

std::string read_file(const std::filesystem::path& path, uint64_t max_bytes) {
  return read_regular_file(path, max_bytes);
}

}  // namespace swage::io
