#include "swage/base/context.h"

#include <gtest/gtest.h>

#include "swage/base/error.h"

namespace swage {
namespace {

TEST(Device, ParsesAndPrints) {
  EXPECT_EQ(to_string(parse_device("cpu")), "cpu");
  EXPECT_EQ(to_string(parse_device("auto")), "auto");
  EXPECT_EQ(to_string(parse_device("cuda")), "cuda:0");
  EXPECT_EQ(to_string(parse_device("cuda:3")), "cuda:3");
  for (const char* bad : {"", "gpu", "cuda:", "cuda:x", "cuda:1x", "cuda:-1"})
    EXPECT_THROW(parse_device(bad), Error) << bad;
}

TEST(Context, CancelThrows) {
  std::atomic<bool> cancel = false;
  Context context;
  context.cancel = &cancel;
  EXPECT_NO_THROW(context.check_cancelled());
  cancel = true;
  try {
    context.check_cancelled();
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Cancelled);
  }
}

}  // namespace
}  // namespace swage
