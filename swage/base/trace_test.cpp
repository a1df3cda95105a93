#include "swage/base/trace.h"

#include <gtest/gtest.h>

#include <thread>

#include "swage/base/error.h"
#include "swage/base/json.h"

namespace swage {
namespace {

using namespace std::chrono_literals;

const Json& event_named(const Json& trace, const std::string& name) {
  for (const Json& event : trace.at("traceEvents").as_array()) {
    if (event.at("name").as_string() == name && event.at("ph").as_string() == "X") return event;
  }
  throw Error(ErrorKind::Internal, "no event " + name);
}

TEST(Trace, SpansSayWhoDidWhatWhen) {
  Trace trace;
  trace.name_thread("main");
  {
    const TraceSpan outer(&trace, "outer", Trace::Kind::Other, 3);
    const TraceSpan inner(&trace, "inner", Trace::Kind::Compute, 3, "model.layers.3.q_proj");
  }
  std::thread([&] { const TraceSpan span(&trace, "elsewhere", Trace::Kind::Disk); }).join();
  const Json json = parse_json(trace.text(), "trace");
  const Json &outer = event_named(json, "outer"), &inner = event_named(json, "inner"),
             &elsewhere = event_named(json, "elsewhere");
  EXPECT_LE(outer.at("ts").as_double(), inner.at("ts").as_double());
  EXPECT_GE(outer.at("ts").as_double() + outer.at("dur").as_double(),
            inner.at("ts").as_double() + inner.at("dur").as_double());
  EXPECT_EQ(inner.at("args").at("block").as_int(), 3);
  EXPECT_EQ(inner.at("args").at("module").as_string(), "model.layers.3.q_proj");
  EXPECT_EQ(inner.at("cat").as_string(), "compute");
  EXPECT_EQ(outer.at("tid").as_int(), inner.at("tid").as_int());
  EXPECT_NE(outer.at("tid").as_int(), elsewhere.at("tid").as_int());
  EXPECT_EQ(elsewhere.at("args").find("block"), nullptr);
  const Json& name = json.at("traceEvents").as_array()[0];
  EXPECT_EQ(name.at("ph").as_string(), "M");
  EXPECT_EQ(name.at("args").at("name").as_string(), "main");
}

// Of ten seconds, the disk is busy in [0, 4] on one thread and [2, 6] on another; computing in [6, 7] and, within that,
// [6, 6.5].
TEST(Trace, BusyIsTheUnionOverThreads) {
  Trace trace;
  const Trace::Clock::time_point t = Trace::Clock::now();
  trace.add("read", Trace::Kind::Disk, t, t + 4s, -1, "");
  trace.add("write", Trace::Kind::Disk, t + 2s, t + 6s, -1, "");
  trace.add("solve", Trace::Kind::Compute, t + 6s, t + 7s, -1, "");
  trace.add("part", Trace::Kind::Compute, t + 6s, t + 6500ms, -1, "");
  trace.add("idle", Trace::Kind::Other, t + 7s, t + 10s, -1, "");
  const Json other = parse_json(trace.text(), "trace").at("otherData");
  EXPECT_DOUBLE_EQ(other.at("seconds").as_double(), 10);
  EXPECT_DOUBLE_EQ(other.at("busy").at("disk").as_double(), 0.6);
  EXPECT_DOUBLE_EQ(other.at("busy").at("compute").as_double(), 0.1);
}

TEST(Trace, NoTraceNoSpans) {
  const TraceSpan span(nullptr, "nothing", Trace::Kind::Disk, 1, "module");
  EXPECT_TRUE(parse_json(Trace().text(), "trace").at("traceEvents").as_array().empty());
}

TEST(Trace, WhatIsTooMuchIsCounted) {
  Trace trace(5);
  const Trace::Clock::time_point t = Trace::Clock::now();
  for (int i = 0; i < 8; ++i) trace.add("span", Trace::Kind::Other, t, t, -1, "");
  EXPECT_EQ(parse_json(trace.text(), "trace").at("otherData").at("dropped").as_int(), 3);
}

}  // namespace
}  // namespace swage
