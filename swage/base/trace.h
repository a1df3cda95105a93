// What each thread does when: spans in Chrome's trace format, for ui.perfetto.dev or chrome://tracing.
// https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU ("complete" events)
#pragma once
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace swage {

// Thread-safe. Spans are kept in memory, some 100 bytes each, the first `most_spans` of them: a run of days must not
// fill the memory with its trace.
class Trace {
 public:
  // What a span waits for or keeps busy. Other: neither, or both.
  enum class Kind { Disk, Compute, Other };

  using Clock = std::chrono::steady_clock;

  explicit Trace(size_t most_spans = 1'000'000) : most_spans_(most_spans) {}
  // Names the calling thread in the viewer.
  void name_thread(std::string_view name);
  // `block` -1: none. `name` must outlive the trace (a literal).
  void add(std::string_view name, Kind kind, Clock::time_point begin, Clock::time_point end, int64_t block,
           std::string module);
  // JSON: {"traceEvents": [...], "otherData": {"seconds", "busy": {"disk", "compute"}, "dropped"}}. Busy: the share of
  // the time from the first span to the last in which at least one thread was in a span of that kind.
  std::string text() const;

 private:
  struct Span {
    std::string_view name;
    Kind kind;
    int thread;
    int64_t block, begin_ns, end_ns;
    std::string module;
  };
  int thread_number();  // with the mutex held
  double busy_seconds(Kind kind) const;

  const size_t most_spans_;
  const Clock::time_point start_ = Clock::now();
  mutable std::mutex mutex_;
  std::map<std::thread::id, int> numbers_;  // in the order in which threads appeared
  std::vector<std::string> thread_names_;
  std::vector<Span> spans_;
  int64_t dropped_ = 0;
};

// From its making to its end, if there is a trace; without one it costs a comparison. Spans of a thread must nest, as
// scopes do.
class TraceSpan {
 public:
  TraceSpan(Trace* trace, std::string_view name, Trace::Kind kind, int64_t block = -1, std::string_view module = {})
      : trace_(trace),
        name_(name),
        kind_(kind),
        block_(block),
        module_(trace ? module : std::string_view()) {
    if (trace_ != nullptr) begin_ = Trace::Clock::now();
  }
  ~TraceSpan() {
    if (trace_ != nullptr) trace_->add(name_, kind_, begin_, Trace::Clock::now(), block_, std::move(module_));
  }
  TraceSpan(const TraceSpan&) = delete;
  TraceSpan& operator=(const TraceSpan&) = delete;

 private:
  Trace* trace_;
  std::string_view name_;
  Trace::Kind kind_;
  int64_t block_;
  std::string module_;
  Trace::Clock::time_point begin_;
};

}  // namespace swage
