#include "swage/job/memory_guard.h"

#include <gmock/gmock.h>

#include "swage/base/error.h"

namespace swage::pipeline {
namespace {

class Guard : public testing::Test {
 protected:
  Guard() {
    context_.log = [this](Severity severity, const std::string& text) {
      EXPECT_EQ(severity, Severity::Warning);
      logged_.push_back(text);
    };
  }
  MemoryGuard guard(uint64_t budget_mib) {
    return MemoryGuard(budget_mib << 20, context_, [this] { return held_mib_ << 20; });
  }

  int64_t held_mib_ = 0;
  std::vector<std::string> logged_;
  Context context_;
};

TEST_F(Guard, SaysNothingInsideOfTheBudgetOrWithoutOne) {
  MemoryGuard with = guard(1000), without = guard(0);
  held_mib_ = 1000;
  with.check();
  held_mib_ = 1 << 20;
  without.check();
  EXPECT_TRUE(logged_.empty());
  EXPECT_TRUE(with.warnings().empty());
}

TEST_F(Guard, WarnsOnceOfALittleTooMuch) {
  MemoryGuard guard = this->guard(1000);
  for (held_mib_ = 1020; held_mib_ <= 1080; held_mib_ += 20) guard.check();
  EXPECT_THAT(logged_, testing::ElementsAre("the run has held 1020 MiB of memory, more than its budget of 1000 MiB"));
  EXPECT_EQ(guard.warnings(), logged_);
}

TEST_F(Guard, EndsARunThatHoldsATenthMore) {
  MemoryGuard guard = this->guard(1000);
  held_mib_ = 1200;
  try {
    guard.check();
    FAIL() << "was let through";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::InvalidArgument);
    EXPECT_STREQ(e.what(),
                 "the run has held 1.18 GiB of memory, more than its budget of 1000 MiB; what is finished is kept, the "
                 "same command with "
                 "--max-memory \"cpu=1.29 GiB\" goes on from there");
  }
}

}  // namespace
}  // namespace swage::pipeline
