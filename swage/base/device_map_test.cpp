#include "swage/base/device_map.h"

#include <gtest/gtest.h>

#include "swage/base/error.h"

namespace swage {
namespace {

TEST(DeviceMap, ReadsTheWordsOfTransformers) {
  for (const char* name : {"", "auto", "auto_offload", "cpu", "cuda"})
    EXPECT_EQ(to_string(parse_device_map(name)), name);
  for (const char* name : {"balanced", "sequential", "Auto", "cuda:0", "disk"}) {
    try {
      parse_device_map(name);
      FAIL() << name;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::InvalidArgument);
      EXPECT_NE(std::string(e.what()).find("expected auto, auto_offload, cpu or cuda"), std::string::npos) << e.what();
    }
  }
}

TEST(DeviceMap, NamesADeviceOrLeavesIt) {
  const Device any{Device::Kind::Auto, 0}, cpu{Device::Kind::Cpu, 0}, second{Device::Kind::Cuda, 1};
  EXPECT_EQ(device_of(DeviceMap::None, second), second);
  EXPECT_EQ(device_of(DeviceMap::Auto, any), any);
  EXPECT_EQ(device_of(DeviceMap::AutoOffload, cpu), cpu);
  EXPECT_EQ(device_of(DeviceMap::Cpu, any), cpu);
  EXPECT_EQ(device_of(DeviceMap::Cuda, any), (Device{Device::Kind::Cuda, 0}));
  EXPECT_EQ(device_of(DeviceMap::Cuda, second), second);
}

TEST(DeviceMap, MustNotContradictTheDevice) {
  try {
    device_of(DeviceMap::Cuda, {Device::Kind::Cpu, 0});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::InvalidArgument);
    EXPECT_NE(std::string(e.what()).find("contradict"), std::string::npos) << e.what();
  }
}

TEST(DeviceMap, OnlyAutoOffloadAndNoneUseTheDisk) {
  EXPECT_TRUE(may_offload(DeviceMap::None));
  EXPECT_TRUE(may_offload(DeviceMap::AutoOffload));
  for (const DeviceMap map : {DeviceMap::Auto, DeviceMap::Cpu, DeviceMap::Cuda}) EXPECT_FALSE(may_offload(map));
}

}  // namespace
}  // namespace swage
