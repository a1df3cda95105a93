#include "swage/checkpoint/output_folder.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>  // renameat2
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <sstream>
#include <system_error>
#include <utility>

#include "swage/base/amounts.h"
#include "swage/base/error.h"
#include "swage/io/atomic_file.h"

namespace swage::checkpoint {
namespace {

namespace fs = std::filesystem;

// Absolute, links resolved, without a trailing slash.
fs::path resolved(const fs::path& target) {
  SWAGE_CHECK(!target.empty(), InvalidArgument, "the output folder's name is empty");
  std::error_code error;
  const fs::path written = fs::absolute(target, error);
  fs::path path = fs::weakly_canonical(written, error);
  SWAGE_CHECK(!error, Io, target.string(), ": cannot resolve: ", error.message());
  for (fs::path at = path; at.has_relative_path() && !fs::exists(at, error); at = at.parent_path()) {
    SWAGE_CHECK(!fs::is_symlink(fs::symlink_status(at, error)), InvalidArgument, at.string(),
                ": is a link that leads nowhere; remove it, or make the folder it leads to");
  }
  if (!path.has_filename()) path = path.parent_path();
  SWAGE_CHECK(path.has_filename(), InvalidArgument, target.string(), ": cannot be an output folder");
  return path;
}

// Whether the process that wrote this may still live. Another machine's processes cannot be asked.
bool may_live(const std::string& host, pid_t process) {
  if (host != io::host_name()) return true;
  return process != ::getpid() && (::kill(process, 0) == 0 || errno != ESRCH);
}

// Names a folder whatever it is called: "DEVICE INODE".
std::string identity_of(const fs::path& folder) {
  struct stat status{};
  return ::stat(folder.c_str(), &status) == 0 ? cat(uint64_t(status.st_dev), " ", uint64_t(status.st_ino))
                                              : std::string();
}

constexpr const char* kProbes = "probes";  // what a run measured before it had anything to write

// Whether there is something that can be gone on with.
bool holds_work(const fs::path& work) {
  std::error_code ignored;
  return fs::exists(work / "journal", ignored) || fs::exists(work / kProbes, ignored);
}

void make_work_folder(const fs::path& work, const fs::path& target) {
  if (::mkdir(work.c_str(), 0777) == 0 || errno == EEXIST) return;
  try {
    io::throw_io_error(work, "make the folder");
  } catch (Error& error) {  // nobody asked for a hidden name
    error.add_context(cat(target.string(), ": is made in a folder beside it"));
    throw;
  }
}

}  // namespace

OutputFolder::OutputFolder(const fs::path& target, bool overwrite)
    : target_(resolved(target)),
      overwrite_(overwrite),
      work_(work_of(target_)),
      temporary_(work_ / "output") {
  tidy(target_);
  check_target(target_, overwrite_);
  try {
    make_parents();
    take_work_folder();
    put_back_replaced();
    kept_ = holds_unfinished_run();
  } catch (...) {
    remove_what_was_made();
    throw;
  }
}

OutputFolder::OutputFolder(OutputFolder&& other) noexcept
    : target_(other.target_),
      overwrite_(other.overwrite_),
      made_parents_(std::move(other.made_parents_)),
      work_(other.work_),
      temporary_(other.temporary_),
      lock_(std::move(other.lock_)),
      kept_(other.kept_),
      ended_(std::exchange(other.ended_, true)) {}

OutputFolder::~OutputFolder() {
  if (!ended_) remove_what_was_made();
}

fs::path OutputFolder::work_of(const fs::path& target) {
  return target.parent_path() / cat(".", target.filename().string(), ".partial");
}

bool OutputFolder::holds_unfinished_run() const { return holds_work(work_); }

fs::path OutputFolder::unfinished_work(const fs::path& target) {
  const fs::path work = work_of(resolved(target));
  return holds_work(work) ? work : fs::path();
}

void OutputFolder::check_target(const fs::path& target, bool overwrite) {
  std::error_code error;
  const fs::path path = resolved(target);
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) return;
  SWAGE_CHECK(fs::is_directory(status), InvalidArgument, target.string(), ": exists and is not a folder");
  const bool empty = fs::is_empty(path, error);
  SWAGE_CHECK(!error, Io, target.string(), ": cannot list the folder: ", error.message());
  SWAGE_CHECK(empty || overwrite, InvalidArgument, target.string(),
              ": the output folder exists and is not empty; --overwrite replaces it");
}

void OutputFolder::make_parents() {
  std::vector<fs::path> missing;
  std::error_code ignored;
  for (fs::path at = target_.parent_path(); !fs::exists(at, ignored) && at.has_filename(); at = at.parent_path())
    missing.push_back(at);
  for (auto at = missing.rbegin(); at != missing.rend(); ++at) {
    if (::mkdir(at->c_str(), 0777) != 0) {
      if (errno == EEXIST) continue;  // another run was faster
      io::throw_io_error(*at, "make the folder");
    }
    made_parents_.push_back(*at);
  }
}

void OutputFolder::tidy(const fs::path& target) {
  const fs::path path = resolved(target), work = work_of(path);
  std::error_code ignored;
  if (!fs::is_directory(fs::symlink_status(work, ignored))) return;
  const bool in_place =
      fs::exists(work / "finished", ignored) && io::read_file(work / "finished", 4096) == identity_of(path);
  const bool holds_old = fs::exists(work / "replaced", ignored) && !fs::exists(path, ignored);
  if (holds_old || (holds_work(work) && !in_place)) return;
  try {
    const io::FileDescriptor folder(work, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (::flock(folder.get(), LOCK_EX | LOCK_NB) != 0) return;
    remove_work(work);
  } catch (const Error&) {
    return;  // gone meanwhile, or not ours to open
  }
}

// What says that the result is in place goes last: a process can die on the way.
void OutputFolder::remove_work(const fs::path& work) {
  std::error_code ignored;
  fs::remove(journal_of(work), ignored);
  for (fs::directory_iterator entry(work, ignored), end; !ignored && entry != end; entry.increment(ignored)) {
    std::error_code also_ignored;
    if (entry->path().filename() != "finished") fs::remove_all(entry->path(), also_ignored);
  }
  fs::remove_all(work, ignored);
}

// A lock on a folder that is removed by its owner at the end: it counts only if the folder still has its name
// afterwards.
void OutputFolder::take_work_folder() {
  while (!try_lock()) continue;
  const io::FileDescriptor owner(work_ / "owner", O_RDWR | O_CREAT);
  owner.truncate(0);
  owner.write_at(cat(io::host_name(), " ", ::getpid(), "\n"), 0);
}

// False if the folder was removed meanwhile.
bool OutputFolder::try_lock() {
  make_work_folder(work_, target_);
  std::error_code ignored;
  try {
    lock_ = io::FileDescriptor(work_, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  } catch (const Error&) {
    if (!fs::exists(fs::symlink_status(work_, ignored))) return false;
    throw;
  }
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) refuse_busy();
    if (errno != EINTR) {  // some network filesystems have no locks; the owner's process id then decides alone
      std::istringstream owner(holds_unfinished_run() ? io::read_file(work_ / "owner", 4096) : std::string());
      std::string host;
      pid_t process = 0;
      if (owner >> host >> process && may_live(host, process)) refuse_busy();
    }
  }
  struct stat locked{}, named{};
  return ::fstat(lock_.get(), &locked) == 0 && ::lstat(work_.c_str(), &named) == 0 && locked.st_ino == named.st_ino &&
         locked.st_dev == named.st_dev;
}

void OutputFolder::refuse_busy() const {
  std::string owner;
  try {
    owner = io::read_file(work_ / "owner", 4096);
  } catch (const Error&) {
    owner = "unknown";  // it is just starting or ending
  }
  while (!owner.empty() && owner.back() == '\n') owner.pop_back();
  throw Error(ErrorKind::InvalidArgument,
              cat(target_.string(), ": another run is at work on this output folder (host and process ", owner,
                  "); wait for it, or give another folder"));
}

// A run without exchange was killed between its two renames: there is no target, but the old one is here, whole.
void OutputFolder::put_back_replaced() const {
  std::error_code ignored;
  const fs::path replaced = work_ / "replaced";
  if (!fs::exists(replaced, ignored) || fs::exists(target_, ignored)) return;
  if (::rename(replaced.c_str(), target_.c_str()) != 0) io::throw_io_error(target_, "put the old folder back");
}

void OutputFolder::clear() {
  kept_ = fs::exists(work_ / kProbes);  // until what they cost stands in the journal
  std::error_code error;
  fs::remove(journal(), error);  // first, so that what is half removed does not look like a run
  for (fs::directory_iterator entry(work_, error), end; !error && entry != end; entry.increment(error)) {
    const fs::path name = entry->path().filename();
    if (name != "owner" && name != kProbes) fs::remove_all(entry->path(), error);
  }
  SWAGE_CHECK(!error, Io, work_.string(), ": cannot remove what an earlier run left: ", error.message());
  if (::mkdir(temporary_.c_str(), 0777) != 0) io::throw_io_error(temporary_, "make the folder");
}

void OutputFolder::remove_what_was_made() noexcept {
  std::error_code ignored;
  if (lock_.is_open() && !kept_) remove_work(work_);
  for (auto at = made_parents_.rbegin(); at != made_parents_.rend(); ++at) fs::remove(*at, ignored);  // only if empty
}

void OutputFolder::check_space(uint64_t bytes) const {
  struct statvfs disk{};
  if (::statvfs(temporary_.c_str(), &disk) != 0) io::throw_io_error(temporary_, "get the free space");
  const uint64_t free = uint64_t{disk.f_bavail} * disk.f_frsize;
  SWAGE_CHECK(bytes <= free, Io, target_.string(), ": not enough disk space: ", bytes, " bytes (",
              bytes_text(int64_t(bytes)), ") needed, ", bytes_text(int64_t(free)), " free");
}

void OutputFolder::commit() {
  check_target(target_, overwrite_);
  io::sync_folder(temporary_);
  if (holds_unfinished_run()) {
    const io::FileDescriptor finished(work_ / "finished", O_WRONLY | O_CREAT | O_TRUNC);
    finished.write_at(identity_of(temporary_), 0);
    finished.sync();
    io::sync_folder(work_);
  }
  replace_target();
  ended_ = true;
  io::sync_folder(target_.parent_path());
  for (const fs::path& parent : made_parents_) io::sync_folder(parent.parent_path());
  remove_work(work_);
}

void OutputFolder::replace_target() {
  // A missing or empty target is replaced by a plain rename.
  if (::rename(temporary_.c_str(), target_.c_str()) == 0) return;
  const bool occupied = errno == ENOTEMPTY || errno == EEXIST;
  if (!occupied || !overwrite_) io::throw_io_error(target_, "put the finished folder there");
  if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) == 0) {
    return;  // the old target is now where the new one was, and goes with the work folder
  }
  // Filesystems without exchange: for a moment there is no target, but both folders are whole.
  const fs::path aside = work_ / "replaced";
  if (::rename(target_.c_str(), aside.c_str()) != 0) io::throw_io_error(target_, "move the old folder aside");
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
    const int code = errno;
    (void)::rename(aside.c_str(), target_.c_str());
    errno = code;
    io::throw_io_error(target_, "put the finished folder there");
  }
}

}  // namespace swage::checkpoint
