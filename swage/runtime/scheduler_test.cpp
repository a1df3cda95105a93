#include "swage/runtime/scheduler.h"

#include <gtest/gtest.h>

#include "swage/runtime/engine.h"
#include "swage/runtime/tiny_model_test_support.h"

namespace swage::runtime {
namespace {

// A prompt of ids from 1 on.
Request numbered_request(int64_t prompt, int64_t tokens) {
  Request out;
  for (int64_t id = 1; id <= prompt; ++id) out.prompt.push_back(id);
  out.max_new_tokens = tokens;
  return out;
}

// A prompt of 60 tokens takes one step of 64 alone, and at least 60 / 4 beside an answer, which goes on in each of
// them.
TEST(Scheduler, PromptsAreReadInSmallPiecesBesideAnswers) {
  const TinyModel tiny(configs().at("llama31"));
  for (const bool beside : {false, true}) {
    EngineOptions options;
    options.schedule = {64, 4, 4};
    Engine engine(*tiny.runner, nullptr, plan_of(*tiny.runner, 64), options);
    Answers running, late;
    if (beside) engine.submit(numbered_request(5, 100), into(running));
    engine.step();
    engine.submit(numbered_request(60, 1), into(late));
    const uint64_t before = engine.stats().steps;
    while (!late.contains(0) || !late[0].last.finish) engine.step();
    const uint64_t steps = engine.stats().steps - before;
    if (beside) {
      EXPECT_GE(steps, 15u);
      EXPECT_GE(running[0].ids.size(), 15u);
    } else {
      EXPECT_EQ(steps, 1u);
    }
  }
}

}  // namespace
}  // namespace swage::runtime
