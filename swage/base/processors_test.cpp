#include "swage/base/processors.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "swage/base/error.h"

namespace swage {
namespace {

// A file system of the kernel's, as far as quotas are concerned.
class Quotas : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/quotasXXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void put(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text << "\n";
  }
  std::string root_;
};

TEST_F(Quotas, TheLeastOfAGroupAndThoseAboveItCounts) {
  put("/proc/self/cgroup", "0::/machine.slice/job.scope");
  EXPECT_FALSE(cpu_quota(root_));
  put("/sys/fs/cgroup/machine.slice/job.scope/cpu.max", "max 100000");
  EXPECT_FALSE(cpu_quota(root_));
  put("/sys/fs/cgroup/machine.slice/cpu.max", "250000 100000");
  EXPECT_EQ(cpu_quota(root_), 2.5);
  put("/sys/fs/cgroup/machine.slice/job.scope/cpu.max", "150000 100000");
  EXPECT_EQ(cpu_quota(root_), 1.5);
  put("/sys/fs/cgroup/machine.slice/cpu.max", "50000 100000");
  EXPECT_EQ(cpu_quota(root_), 0.5);
}

// A container sees its own group as the root, and in the older hierarchy under the name that it has outside.
TEST_F(Quotas, OfAContainer) {
  put("/proc/self/cgroup", "0::/");
  put("/sys/fs/cgroup/cpu.max", "400000 100000");
  EXPECT_EQ(cpu_quota(root_), 4);
  put("/proc/self/cgroup", "12:memory:/docker/1f2e\n4:cpu,cpuacct:/docker/1f2e");
  put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "300000");
  put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000");
  EXPECT_EQ(cpu_quota(root_), 3);
  put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1");
  EXPECT_FALSE(cpu_quota(root_));
}

TEST_F(Quotas, WhatIsNoQuotaIsNone) {
  for (const char* text : {"", "nonsense", "0::", "0", "4:cpuset:/x", "4:cpu:x"}) {
    put("/proc/self/cgroup", text);
    put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000");
    put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "0");
    EXPECT_FALSE(cpu_quota(root_)) << text;
  }
}

TEST(Processors, FollowTheAffinityMask) {
  EXPECT_GE(usable_processors(), 1);
  int alone = 0;
  std::thread([&] {  // the mask is the thread's
    cpu_set_t mask, one;
    ASSERT_EQ(sched_getaffinity(0, sizeof mask, &mask), 0);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++i) {
      if (CPU_ISSET(i, &mask)) CPU_SET(i, &one);
    }
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    alone = usable_processors();
  })
      .join();
  EXPECT_EQ(alone, 1);
}

TEST(Processors, ThreadsAreBounded) {
  EXPECT_EQ(threads_for(0), usable_processors());
  EXPECT_EQ(threads_for(64), 64);
  EXPECT_EQ(threads_for(kMostThreads), kMostThreads);
  EXPECT_THROW(threads_for(kMostThreads + 1), Error);
  EXPECT_THROW(threads_for(-1), Error);
}

}  // namespace
}  // namespace swage
