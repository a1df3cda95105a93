#include "swage/offload/rows.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <atomic>
#include <utility>

#include "swage/base/error.h"

namespace swage::offload {
namespace {

namespace fs = std::filesystem;

// A file without a name, so that nothing is left of it whatever becomes of the process.
io::FileDescriptor unnamed_file(const fs::path& folder) {
  static std::atomic<int> count = 0;
  const fs::path path = folder / cat(".swage-spill-", ::getpid(), "-", count++);
  io::FileDescriptor file(path, O_RDWR | O_CREAT | O_EXCL);
  fs::remove(path);
  return file;
}

}  // namespace

Rows::Rows(int64_t rows, int64_t numbers, const at::TensorOptions& options, const fs::path& folder) : rows_(rows), numbers_(numbers) {
  if (folder.empty() || !options.device().is_cpu() || rows * numbers == 0) {
    data_NF_ = at::empty({rows, numbers}, options);
    return;
  }
  const uint64_t page = uint64_t(::sysconf(_SC_PAGESIZE));
  stride_bytes_ = (uint64_t(numbers) * sizeof(float) + page - 1) / page * page;
  file_ = unnamed_file(folder);
  file_.reserve(stride_bytes_ * uint64_t(rows));
  void* at = ::mmap(nullptr, stride_bytes_ * uint64_t(rows), PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
  if (at == MAP_FAILED) io::throw_io_error(file_.path(), "map");
  mapped_ = static_cast<char*>(at);
}

Rows::~Rows() {
  if (mapped_ != nullptr) ::munmap(mapped_, stride_bytes_ * uint64_t(rows_));
}

Rows::Rows(Rows&& other) noexcept { *this = std::move(other); }

Rows& Rows::operator=(Rows&& other) noexcept {
  std::swap(rows_, other.rows_);
  std::swap(numbers_, other.numbers_);
  std::swap(stride_bytes_, other.stride_bytes_);
  std::swap(data_NF_, other.data_NF_);
  std::swap(file_, other.file_);
  std::swap(mapped_, other.mapped_);
  return *this;
}

at::Tensor Rows::row(int64_t row) const {
  if (mapped_ == nullptr) return data_NF_[row];
  return at::from_blob(mapped_ + stride_bytes_ * uint64_t(row), {numbers_}, at::TensorOptions(at::kFloat));
}

void Rows::prefetch(int64_t row) const {
  if (mapped_ != nullptr && row < rows_) (void)::madvise(mapped_ + stride_bytes_ * uint64_t(row), stride_bytes_, MADV_WILLNEED);
}

void Rows::release(int64_t row) const {
  if (mapped_ == nullptr) return;
  file_.start_writeback(stride_bytes_ * uint64_t(row), stride_bytes_);
  (void)::madvise(mapped_ + stride_bytes_ * uint64_t(row), stride_bytes_, MADV_DONTNEED);  // a shared mapping: the file keeps what was written
}

void check_folder(const fs::path& folder) {
  std::error_code ignored;
  SWAGE_CHECK(fs::is_directory(folder, ignored), InvalidArgument, folder.string(), ": no such folder");
  SWAGE_CHECK(::access(folder.c_str(), W_OK | X_OK) == 0, InvalidArgument, folder.string(), ": cannot be written to");
  struct statfs info = {};
  const bool in_memory = ::statfs(folder.c_str(), &info) == 0 && (info.f_type == TMPFS_MAGIC || info.f_type == RAMFS_MAGIC);
  SWAGE_CHECK(!in_memory, InvalidArgument, folder.string(), ": lies in memory itself (tmpfs); give a folder on a disk");
}

}  // namespace swage::offload
