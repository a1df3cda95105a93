#include "swage/base/memory.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <string>

#include "swage/base/error.h"
#include "swage/base/file.h"

namespace swage {
namespace {

// A file that the kernel writes; empty where there is none.
std::istringstream system_file(const char* path) {
  constexpr uint64_t kMaxBytes = uint64_t{1} << 20;
  try {
    return std::istringstream(read_regular_file(path, kMaxBytes));
  } catch (const Error&) {
    return {};
  }
}

}  // namespace

int64_t peak_rss_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t(usage.ru_maxrss) * 1024;
}

void reset_peak_rss() {
  const int file = ::open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);  // check_layers: allow file (the kernel's)
  if (file < 0) return;
  [[maybe_unused]] const ssize_t written = ::write(file, "5", 1);
  ::close(file);
}

int64_t current_rss_bytes() {
  std::istringstream statm = system_file("/proc/self/statm");
  int64_t size = 0, resident = 0;
  statm >> size >> resident;
  return resident * int64_t(sysconf(_SC_PAGESIZE));
}

namespace {

// The first number of a file such as memory.max; nothing if it holds none ("max").
std::optional<uint64_t> number_in(const char* path) {
  std::istringstream file = system_file(path);
  uint64_t number = 0;
  return file >> number ? std::optional(number) : std::nullopt;
}

}  // namespace

uint64_t available_memory_bytes() {
  uint64_t available = 0;
  std::istringstream meminfo = system_file("/proc/meminfo");
  for (std::string line; std::getline(meminfo, line);) {
    if (line.starts_with("MemAvailable:")) available = std::strtoull(line.c_str() + 13, nullptr, 10) * 1024;
  }
  const auto most = number_in("/sys/fs/cgroup/memory.max"), taken = number_in("/sys/fs/cgroup/memory.current");
  if (most && taken) available = std::min(available, *most - std::min(*most, *taken));
  return available;
}

void release_free_memory() { malloc_trim(0); }

}  // namespace swage
