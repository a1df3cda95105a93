#include "swage/offload/rows.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
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

Rows::Rows(int64_t rows, int64_t numbers, const at::TensorOptions& options, const Tiers& tiers)
    : rows_(rows),
      numbers_(numbers) {
  if (!tiers.folder.empty() && options.device().is_cpu() && numbers > 0)
    in_file_ = std::max<int64_t>(0, rows - tiers.rows_in_memory);
  data_MF_ = at::empty({rows - in_file_, numbers}, options);
  if (in_file_ == 0) return;
  const uint64_t page = uint64_t(::sysconf(_SC_PAGESIZE));
  stride_bytes_ = (uint64_t(numbers) * sizeof(float) + page - 1) / page * page;
  file_ = unnamed_file(tiers.folder);
  file_.reserve(stride_bytes_ * uint64_t(in_file_));
  void* at = ::mmap(nullptr, stride_bytes_ * uint64_t(in_file_), PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
  if (at == MAP_FAILED) io::throw_io_error(file_.path(), "map");
  mapped_ = static_cast<char*>(at);
}

Rows::~Rows() {
  if (mapped_ != nullptr) ::munmap(mapped_, stride_bytes_ * uint64_t(in_file_));
}

Rows::Rows(Rows&& other) noexcept { *this = std::move(other); }

Rows& Rows::operator=(Rows&& other) noexcept {
  std::swap(rows_, other.rows_);
  std::swap(numbers_, other.numbers_);
  std::swap(in_file_, other.in_file_);
  std::swap(stride_bytes_, other.stride_bytes_);
  std::swap(data_MF_, other.data_MF_);
  std::swap(file_, other.file_);
  std::swap(mapped_, other.mapped_);
  return *this;
}

at::Tensor Rows::row(int64_t row) const {
  if (!in_file(row)) return data_MF_[row - filed_before(row)];
  return at::from_blob(mapped(row), {numbers_}, at::TensorOptions(at::kFloat));
}

void Rows::prefetch(int64_t row) const {
  if (row < rows_ && in_file(row)) (void)::madvise(mapped(row), stride_bytes_, MADV_WILLNEED);
}

void Rows::release(int64_t row) const {
  if (!in_file(row)) return;
  file_.start_writeback(stride_bytes_ * uint64_t(filed_before(row)), stride_bytes_);
  (void)::madvise(mapped(row), stride_bytes_, MADV_DONTNEED);  // a shared mapping: the file keeps what was written
}

void check_folder(const fs::path& folder) {
  std::error_code ignored;
  SWAGE_CHECK(fs::is_directory(folder, ignored), InvalidArgument, folder.string(), ": no such folder");
  SWAGE_CHECK(::access(folder.c_str(), W_OK | X_OK) == 0, InvalidArgument, folder.string(), ": cannot be written to");
  struct statfs info = {};
  const bool in_memory =
      ::statfs(folder.c_str(), &info) == 0 && (info.f_type == TMPFS_MAGIC || info.f_type == RAMFS_MAGIC);
  SWAGE_CHECK(!in_memory, InvalidArgument, folder.string(), ": lies in memory itself (tmpfs); give a folder on a disk");
}

}  // namespace swage::offload
