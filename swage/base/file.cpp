#include "swage/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "swage/base/error.h"

namespace swage {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxJsonValues = 2'000'000;  // some 300 MB of memory
constexpr uint64_t kPiece = uint64_t{1} << 20;

[[noreturn]] void refuse(const fs::path& path, std::string_view attempted) {
  const int code = errno;
  throw Error(ErrorKind::Io, cat(path.string(), ": cannot ", attempted, ": ", std::generic_category().message(code)));
}

class Opened {
 public:
  // O_NONBLOCK: opening a pipe must not wait for its writer. It means nothing for regular files.
  explicit Opened(const fs::path& path) : fd_(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)) {
    if (fd_ < 0) refuse(path, "open");
  }
  ~Opened() { ::close(fd_); }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

std::string word_of(mode_t mode) {
  if (S_ISREG(mode)) return "a regular file";
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return S_ISCHR(mode) || S_ISBLK(mode) ? "a device" : "something else";
}

}  // namespace

std::string read_regular_file(const fs::path& path, uint64_t max_bytes) {
  const Opened file(path);
  struct stat status{};
  if (::fstat(file.fd(), &status) != 0) refuse(path, "get the status");
  SWAGE_CHECK(S_ISREG(status.st_mode), Io, path.string(), ": expected a regular file, found ", word_of(status.st_mode));
  const uint64_t size = uint64_t(status.st_size);
  SWAGE_CHECK(size <= max_bytes, Io, path.string(), ": has ", size, " bytes, expected at most ", max_bytes);
  std::string out;
  uint64_t filled = 0;
  // The length is a hint: files of /proc say 0, and others may grow meanwhile.
  while (filled <= max_bytes) {
    const uint64_t wanted = filled < size ? size - filled : std::min(kPiece, max_bytes - filled + 1);
    out.resize(filled + wanted);
    const ssize_t got = ::read(file.fd(), out.data() + filled, wanted);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) refuse(path, "read");
    if (got == 0) break;
    filled += uint64_t(got);
  }
  SWAGE_CHECK(filled <= max_bytes, Io, path.string(), ": has more than ", max_bytes, " bytes");
  out.resize(filled);
  return out;
}

Json read_json_file(const fs::path& path) {
  return parse_json(read_regular_file(path, kMaxConfigBytes), path.string(), {.max_values = kMaxJsonValues});
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

void open_standard_streams() {
  for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; ++stream) {
    if (::fcntl(stream, F_GETFD) == -1) static_cast<void>(::open("/dev/null", O_RDWR));  // takes the lowest number
  }
}

std::string kind_of_file(const fs::path& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) == 0) return word_of(status.st_mode);
  return ::lstat(path.c_str(), &status) == 0 && S_ISLNK(status.st_mode) ? "a link that leads nowhere" : "nothing";
}

}  // namespace swage
