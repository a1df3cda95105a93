// Faults of the operating system, for tests of the built program: a library for LD_PRELOAD that stands between the
// program and the C library's file calls. Nothing of it is in the program.
//
//   SWAGE_FAULTS_PATH=TEXT      files whose path contains it
//   SWAGE_FAULTS=CALL:N:ACTION  at the N-th call (from 1) of the kind CALL to such a file
//     CALL    sync (fsync, fdatasync), rename, write, read, reserve, make (mkdir), any of these: all
//     ACTION  kill: the process dies before the call
//             crash: the machine does, so that what was written since a file's last sync is lost
//             short: a read or write does half of what it should
//             ENOSPC, EIO, EACCES, EROFS: the call fails with it, and so do all later ones of its kind
//   SWAGE_FAULTS_COUNT=FILE     receives the number of such calls when the program ends
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace {

template <class Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

struct Overwritten {
  off_t offset;
  std::string bytes;
};

class Faults {
 public:
  Faults() : path_(variable("SWAGE_FAULTS_PATH")), count_file_(variable("SWAGE_FAULTS_COUNT")) {
    const std::string text = variable("SWAGE_FAULTS");
    const size_t first = text.find(':'), second = text.find(':', first + 1);
    if (second == std::string::npos) return;
    call_ = text.substr(0, first);
    number_ = std::stol(text.substr(first + 1, second));
    action_ = text.substr(second + 1);
  }
  ~Faults() {
    if (count_file_.empty()) return;
    if (std::FILE* file = std::fopen(count_file_.c_str(), "w")) {
      std::fprintf(file, "%ld\n", calls_.load());
      std::fclose(file);
    }
  }

  // What happens to this call: 0 nothing, a positive errno, -1 half of it.
  int before(const char* call, const std::string& path) {
    if (call_ != call && call_ != "all") return 0;
    if (path.find(path_) == std::string::npos) return 0;
    const long now = ++calls_;
    if (number_ <= 0 || now < number_) return 0;
    if (action_ == "ENOSPC") return ENOSPC;
    if (action_ == "EIO") return EIO;
    if (action_ == "EACCES") return EACCES;
    if (action_ == "EROFS") return EROFS;
    if (now > number_) return 0;
    if (action_ == "short") return -1;
    if (action_ == "crash") lose_unsynced();
    ::kill(::getpid(), SIGKILL);
    for (;;) ::pause();
  }

  bool remembers() const { return action_ == "crash"; }
  std::mutex& mutex() { return mutex_; }

  void remember(int fd, size_t count, off_t offset) {
    static const auto read = next<ssize_t (*)(int, void*, size_t, off_t)>("pread");
    std::string old(count, 0);
    const ssize_t got = read(fd, old.data(), count, offset);
    if (got < 0) return;  // opened for writing only: small files, which are synced at once
    old.resize(size_t(got));
    unsynced_[inode(fd)].push_back({offset, std::move(old)});
  }
  void forget(int fd) { unsynced_.erase(inode(fd)); }

  static std::string path_of(int fd) {
    char link[64], path[4096];
    std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t length = ::readlink(link, path, sizeof path);
    return length < 0 ? std::string() : std::string(path, size_t(length));
  }

 private:
  static std::pair<dev_t, ino_t> inode(int fd) {
    struct stat status{};
    ::fstat(fd, &status);
    return {status.st_dev, status.st_ino};
  }

  void lose_unsynced() {
    static const auto write = next<ssize_t (*)(int, const void*, size_t, off_t)>("pwrite");
    mutex_.lock();  // for ever: nobody writes any more
    for (int fd = 3; fd < 1024; ++fd) {
      const auto found = unsynced_.find(inode(fd));
      if (found == unsynced_.end() || (::fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY) continue;
      for (auto old = found->second.rbegin(); old != found->second.rend(); ++old) {
        if (old->bytes.empty()) continue;
        if (write(fd, old->bytes.data(), old->bytes.size(), old->offset) < 0) std::perror("losing what was not synced");
      }
      unsynced_.erase(found);
    }
  }

  std::string call_, action_;
  const std::string path_, count_file_;
  long number_ = 0;
  std::atomic<long> calls_ = 0;
  std::mutex mutex_;
  std::map<std::pair<dev_t, ino_t>, std::vector<Overwritten>> unsynced_;
};

Faults& faults() {
  static Faults all;
  return all;
}

bool refused(const char* call, const std::string& path) {
  const int code = faults().before(call, path);
  if (code > 0) errno = code;
  return code > 0;
}

int sync(const char* name, int fd) {
  if (refused("sync", Faults::path_of(fd))) return -1;
  const int result = next<int (*)(int)>(name)(fd);
  const std::lock_guard<std::mutex> guard(faults().mutex());
  if (result == 0) faults().forget(fd);
  return result;
}

ssize_t write_at(const char* name, int fd, const void* from, size_t count, off_t offset) {
  const int fate = faults().before("write", Faults::path_of(fd));
  if (fate > 0) {
    errno = fate;
    return -1;
  }
  const std::lock_guard<std::mutex> guard(faults().mutex());
  if (faults().remembers()) faults().remember(fd, count, offset);
  return next<ssize_t (*)(int, const void*, size_t, off_t)>(name)(fd, from, fate < 0 ? (count + 1) / 2 : count, offset);
}

ssize_t read_at(const char* name, int fd, void* to, size_t count, off_t offset) {
  const int fate = faults().before("read", Faults::path_of(fd));
  if (fate > 0) {
    errno = fate;
    return -1;
  }
  return next<ssize_t (*)(int, void*, size_t, off_t)>(name)(fd, to, fate < 0 ? (count + 1) / 2 : count, offset);
}

}  // namespace

extern "C" {

int fsync(int fd) { return sync("fsync", fd); }
int fdatasync(int fd) { return sync("fdatasync", fd); }
ssize_t pwrite(int fd, const void* from, size_t count, off_t offset) {
  return write_at("pwrite", fd, from, count, offset);
}
ssize_t pwrite64(int fd, const void* from, size_t count, off_t offset) {
  return write_at("pwrite64", fd, from, count, offset);
}
ssize_t pread(int fd, void* to, size_t count, off_t offset) { return read_at("pread", fd, to, count, offset); }
ssize_t pread64(int fd, void* to, size_t count, off_t offset) { return read_at("pread64", fd, to, count, offset); }

int rename(const char* from, const char* to) noexcept {
  return refused("rename", to) ? -1 : next<int (*)(const char*, const char*)>("rename")(from, to);
}
int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) noexcept {
  return refused("rename", to) ? -1
                               : next<int (*)(int, const char*, int, const char*, unsigned)>("renameat2")(
                                     from_folder, from, to_folder, to, flags);
}
int mkdir(const char* path, mode_t mode) noexcept {
  return refused("make", path) ? -1 : next<int (*)(const char*, mode_t)>("mkdir")(path, mode);
}
int fallocate(int fd, int mode, off_t offset, off_t length) {
  return refused("reserve", Faults::path_of(fd))
             ? -1
             : next<int (*)(int, int, off_t, off_t)>("fallocate")(fd, mode, offset, length);
}

}  // extern "C"
