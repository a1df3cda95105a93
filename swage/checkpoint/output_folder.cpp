#include "swage/checkpoint/output_folder.h"

#include <fcntl.h>
#include <stdio.h>  // renameat2
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "swage/base/error.h"
#include "swage/io/atomic_file.h"

namespace swage::checkpoint {
namespace {

namespace fs = std::filesystem;

// Absolute, links resolved, without a trailing slash.
fs::path resolved(const fs::path& target) {
  SWAGE_CHECK(!target.empty(), InvalidArgument, "the output folder's name is empty");
  std::error_code error;
  fs::path path = fs::weakly_canonical(fs::absolute(target, error), error);
  SWAGE_CHECK(!error, Io, target.string(), ": cannot resolve: ", error.message());
  if (!path.has_filename()) path = path.parent_path();
  SWAGE_CHECK(path.has_filename(), InvalidArgument, target.string(), ": cannot be an output folder");
  return path;
}

}  // namespace

OutputFolder::OutputFolder(const fs::path& target, bool overwrite) : target_(resolved(target)), overwrite_(overwrite) {
  check_target();
  try {
    make_parents();
    remove_abandoned();
    make_temporary();
  } catch (...) {
    remove_what_was_made();
    throw;
  }
}

OutputFolder::~OutputFolder() {
  if (!committed_) remove_what_was_made();
}

void OutputFolder::check_target() const {
  std::error_code error;
  const fs::file_status status = fs::status(target_, error);
  if (!fs::exists(status)) return;
  SWAGE_CHECK(fs::is_directory(status), InvalidArgument, target_.string(), ": exists and is not a folder");
  const bool empty = fs::is_empty(target_, error);
  SWAGE_CHECK(!error, Io, target_.string(), ": cannot list the folder: ", error.message());
  SWAGE_CHECK(empty || overwrite_, InvalidArgument, target_.string(), ": the output folder exists and is not empty; --overwrite replaces it");
}

void OutputFolder::make_parents() {
  std::vector<fs::path> missing;
  std::error_code ignored;
  for (fs::path at = target_.parent_path(); !fs::exists(at, ignored) && at.has_filename(); at = at.parent_path()) missing.push_back(at);
  for (auto at = missing.rbegin(); at != missing.rend(); ++at) {
    if (::mkdir(at->c_str(), 0777) != 0) {
      if (errno == EEXIST) continue;  // another run was faster
      io::throw_io_error(*at, "make the folder");
    }
    made_parents_.push_back(*at);
  }
}

void OutputFolder::make_temporary() {
  const fs::path path = io::temporary_sibling(target_);
  if (::mkdir(path.c_str(), 0777) != 0) io::throw_io_error(path, "make the folder");
  temporary_ = path;
  lock_ = io::FileDescriptor(path, O_RDONLY | O_DIRECTORY);
  (void)::flock(lock_.get(), LOCK_EX | LOCK_NB);  // some network filesystems cannot; the process id then decides alone
}

// A folder is abandoned when the process named in it is gone and nobody holds its lock (that process may live in
// another container). Leftovers that cannot be removed harm nobody.
void OutputFolder::remove_abandoned() const {
  for (const fs::path& path : io::abandoned_siblings(target_)) {
    try {
      const io::FileDescriptor folder(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      if (::flock(folder.get(), LOCK_EX | LOCK_NB) != 0) continue;
      std::error_code ignored;
      fs::remove_all(path, ignored);
    } catch (const Error&) {
      continue;  // gone meanwhile, or not ours to open
    }
  }
}

void OutputFolder::remove_what_was_made() noexcept {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
  for (auto at = made_parents_.rbegin(); at != made_parents_.rend(); ++at) fs::remove(*at, ignored);  // only if empty
}

void OutputFolder::check_space(uint64_t bytes) const {
  struct statvfs disk {};
  if (::statvfs(temporary_.c_str(), &disk) != 0) io::throw_io_error(temporary_, "get the free space");
  const uint64_t free = uint64_t{disk.f_bavail} * disk.f_frsize;
  SWAGE_CHECK(bytes <= free, Io, target_.string(), ": not enough disk space: ", bytes, " bytes needed, ", free, " free");
}

void OutputFolder::commit() {
  check_target();
  io::sync_folder(temporary_);
  replace_target();
  committed_ = true;
  io::sync_folder(target_.parent_path());
  for (const fs::path& parent : made_parents_) io::sync_folder(parent.parent_path());
}

void OutputFolder::replace_target() {
  // A missing or empty target is replaced by a plain rename.
  if (::rename(temporary_.c_str(), target_.c_str()) == 0) return;
  const bool occupied = errno == ENOTEMPTY || errno == EEXIST;
  if (!occupied || !overwrite_) io::throw_io_error(target_, "put the finished folder there");
  std::error_code ignored;
  if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) == 0) {
    fs::remove_all(temporary_, ignored);  // now the old target
    return;
  }
  // Filesystems without exchange: for a moment there is no target, but both folders are whole.
  const fs::path aside = io::temporary_sibling(target_);
  if (::rename(target_.c_str(), aside.c_str()) != 0) io::throw_io_error(target_, "move the old folder aside");
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
    const int code = errno;
    (void)::rename(aside.c_str(), target_.c_str());
    errno = code;
    io::throw_io_error(target_, "put the finished folder there");
  }
  fs::remove_all(aside, ignored);
}

}  // namespace swage::checkpoint
