#include "swage/base/processors.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>
#include <thread>

#include "swage/base/error.h"

namespace swage {
namespace {

std::string first_line(const std::string& path) {
  std::ifstream file(path);  // check_layers: allow file (of the kernel, not of a model)
  std::string line;
  std::getline(file, line);
  return line;
}

// "150000 100000"; "max 100000" and everything else is nothing.
std::optional<double> share_in(const std::string& text) {
  std::istringstream in(text);
  double quota = 0, period = 0;
  if (!(in >> quota >> period) || quota <= 0 || period <= 0) return {};
  return quota / period;
}

// Calls use(folder) for `group` under `mount` and for all above it, `mount` last. In a container the process's own
// group may be what is mounted, under the name that it has outside: then only `mount` itself is there.
template <class Use>
void for_each_ancestor(const std::string& mount, std::string group, const Use& use) {
  while (!group.empty() && group != "/") {
    use(mount + group);
    group.erase(group.rfind('/'));
  }
  use(mount);
}

bool lists(const std::string& controllers, const std::string& wanted) {
  std::istringstream in(controllers);
  for (std::string name; std::getline(in, name, ',');) {
    if (name == wanted) return true;
  }
  return false;
}

}  // namespace

std::optional<double> cpu_quota(const std::string& root) {
  double least = std::numeric_limits<double>::infinity();
  const auto use = [&](const std::optional<double>& share) {
    if (share) least = std::min(least, *share);
  };
  std::ifstream groups(root + "/proc/self/cgroup");      // check_layers: allow file (of the kernel)
  for (std::string line; std::getline(groups, line);) {  // "0::/user.slice", "4:cpu,cpuacct:/docker/1f2e"
    const size_t first = line.find(':'), second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos || second + 1 >= line.size() || line[second + 1] != '/') continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), group = line.substr(second + 1),
                      all = root + "/sys/fs/cgroup";
    if (controllers.empty()) {
      for (const char* mount : {"", "/unified"}) {
        for_each_ancestor(all + mount, group,
                          [&](const std::string& folder) { use(share_in(first_line(folder + "/cpu.max"))); });
      }
    } else if (lists(controllers, "cpu")) {
      for (const std::string& mount : {std::string("cpu"), controllers}) {
        for_each_ancestor(all + "/" + mount, group, [&](const std::string& folder) {
          use(share_in(first_line(folder + "/cpu.cfs_quota_us") + " " + first_line(folder + "/cpu.cfs_period_us")));
        });
      }
    }
  }
  return std::isfinite(least) ? std::optional(least) : std::nullopt;
}

int usable_processors() {
  int count = int(std::thread::hardware_concurrency());
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) count = CPU_COUNT(&mask);  // fails beyond 1024 processors
  if (const std::optional<double> quota = cpu_quota()) count = std::min(count, int(std::min(std::ceil(*quota), 1e6)));
  return std::max(count, 1);
}

int threads_for(int wanted) {
  SWAGE_CHECK(wanted >= 0 && wanted <= kMostThreads, InvalidArgument, "threads ", wanted,
              ": expected a number from 0, which is as many as there are processors (", usable_processors(),
              " here), to ", kMostThreads);
  return wanted > 0 ? wanted : std::min(usable_processors(), kMostThreads);
}

}  // namespace swage
