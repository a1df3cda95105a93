#include "swage/io/mmap_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "swage/base/error.h"
#include "swage/base/file.h"

namespace swage::io {
namespace {

uint64_t page_bytes() { return uint64_t(::sysconf(_SC_PAGESIZE)); }

struct stat status_of(const FileDescriptor& file) {
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) throw_io_error(file.path(), "get the status");
  return status;
}

}  // namespace

// O_NONBLOCK: opening a pipe must not wait for its writer. It means nothing for regular files.
MmapFile::MmapFile(const std::filesystem::path& path) : file_(path, O_RDONLY | O_NONBLOCK) {
  const struct stat status = status_of(file_);
  SWAGE_CHECK(S_ISREG(status.st_mode), Io, path.string(), ": expected a regular file, found ", kind_of_file(path));
  size_ = size_t(status.st_size);
  if (size_ == 0) return;
  void* data = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file_.get(), 0);
  if (data == MAP_FAILED) throw_io_error(path, "map into memory");
  data_ = data;
}

MmapFile::~MmapFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

MmapFile::MmapFile(MmapFile&& other) noexcept
    : file_(std::move(other.file_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MmapFile& MmapFile::operator=(MmapFile&& other) noexcept {
  std::swap(file_, other.file_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void MmapFile::check_size() const {
  const uint64_t now = uint64_t(status_of(file_).st_size);
  SWAGE_CHECK(now >= size_, Io, path().string(), ": shrank from ", size_, " to ", now, " bytes while in use");
}

void MmapFile::will_need(uint64_t offset, uint64_t length) const {
  const uint64_t page = page_bytes();
  const uint64_t last = std::min<uint64_t>(size_, offset + length);
  advise(offset / page * page, (last + page - 1) / page * page, MADV_WILLNEED);
}

void MmapFile::dont_need(uint64_t offset, uint64_t length) const {
  const uint64_t page = page_bytes();
  const uint64_t end = std::min<uint64_t>(size_, offset + length);
  // The file's last page may be dropped whole: nothing else shares it.
  const uint64_t last = end == size_ ? end : end / page * page;
  advise((offset + page - 1) / page * page, last, MADV_DONTNEED);
}

void MmapFile::advise(uint64_t first, uint64_t last, int advice) const {
  if (data_ == nullptr || first >= last) return;
  // Only advice: without it everything works, slower.
  (void)::madvise(static_cast<char*>(data_) + first, last - first, advice);
}

}  // namespace swage::io
