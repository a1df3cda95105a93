// How many processors this process may use: of its affinity mask, and of its control groups' quotas.
#pragma once
#include <optional>
#include <string>

namespace swage {

// Threads beyond this help nobody, and one mistyped number would take the machine's memory for their stacks.
inline constexpr int kMostThreads = 1024;

// The least quota of the process's control group and those above it, in processors: 1.5 is 150 ms of every 100. Both
// kinds of hierarchy: cpu.max, and cpu.cfs_quota_us over cpu.cfs_period_us. Nothing if none is set, or none can be
// read. `root` stands for "/", for tests.
std::optional<double> cpu_quota(const std::string& root = "");

// Processors that threads of this process may run on at a time, at least 1; a quota counts up to whole ones: what is
// left of the last one is of use too.
int usable_processors();

// `wanted`, or usable_processors() for 0. Error(InvalidArgument) for a negative number or more than kMostThreads.
int threads_for(int wanted);

}  // namespace swage
