#include "swage/job/run_progress.h"

#include <gtest/gtest.h>

namespace swage::pipeline {
namespace {

RunProgress of_three(double calibrate_seconds = 0, double check_seconds = 0) {
  RunProgress out;
  out.plan({{"embed", 0, 0}, {"calibrate", 8e12, calibrate_seconds}, {"check", 2e12, check_seconds}});
  return out;
}

ProgressEvent at(double elapsed) {
  ProgressEvent event;
  event.elapsed_seconds = elapsed;
  return event;
}

// 10 s of 40 s in, of a stage that is followed by one of a quarter of its work.
TEST(RunProgress, StagesThatFollowAreCounted) {
  EXPECT_DOUBLE_EQ(of_three().of_run(at(15), "calibrate", 5, 30).eta_seconds, 30 + 40.0 / 4);
  EXPECT_DOUBLE_EQ(of_three().of_run(at(60), "check", 55, 3).eta_seconds, 3);
}

TEST(RunProgress, BeforeAnythingIsMeasuredThePlanCounts) {
  EXPECT_LT(of_three().of_run(at(1), "calibrate", 1, -1).eta_seconds, 0);  // it has no times
  EXPECT_DOUBLE_EQ(of_three(8, 2).of_run(at(4), "calibrate", 2, -1).eta_seconds, 8 - 2 + 2);
  EXPECT_DOUBLE_EQ(of_three(8, 2).of_run(at(40), "calibrate", 2, -1).eta_seconds,
                   2);  // longer than planned: what follows is still to come
}

TEST(RunProgress, AStageThatIsNotPlannedSpeaksForItself) {
  EXPECT_DOUBLE_EQ(of_three().of_run(at(4), "owl", 2, 7).eta_seconds, 7);
}

}  // namespace
}  // namespace swage::pipeline
