#include "swage/ops/device.h"

#include "swage/base/error.h"

namespace swage::ops {
namespace {

TEST(Device, AutoIsAlwaysThere) { EXPECT_NO_THROW(at::empty({1}, at::device(to_torch({Device::Kind::Auto, 0})))); }

TEST(Device, AbsentGpuIsUnsupported) {
  try {
    to_torch({Device::Kind::Cuda, 1000});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Io);  // the machine is at fault, not the request
  }
}

}  // namespace
}  // namespace swage::ops
