#include "swage/base/trace.h"

#include <algorithm>
#include <utility>

#include "swage/base/error.h"
#include "swage/base/json.h"

namespace swage {
namespace {

const char* name_of(Trace::Kind kind) {
  if (kind == Trace::Kind::Disk) return "disk";
  return kind == Trace::Kind::Compute ? "compute" : "other";
}

int64_t nanoseconds(Trace::Clock::duration time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
}

// 1234567 ns as "1234.567" microseconds.
std::string microseconds(int64_t ns) {
  const std::string digits = std::to_string(ns % 1000);
  return cat(ns / 1000, ".", std::string(3 - digits.size(), '0'), digits);
}

}  // namespace

int Trace::thread_number() {
  const auto [entry, added] = numbers_.emplace(std::this_thread::get_id(), int(numbers_.size()));
  if (added) thread_names_.push_back("thread " + std::to_string(entry->second));
  return entry->second;
}

void Trace::name_thread(std::string_view name) {
  const std::lock_guard<std::mutex> guard(mutex_);
  thread_names_[size_t(thread_number())] = std::string(name);
}

void Trace::add(std::string_view name, Kind kind, Clock::time_point begin, Clock::time_point end, int64_t block,
                std::string module) {
  const std::lock_guard<std::mutex> guard(mutex_);
  if (spans_.size() >= most_spans_) {
    ++dropped_;
    return;
  }
  spans_.push_back(
      {name, kind, thread_number(), block, nanoseconds(begin - start_), nanoseconds(end - start_), std::move(module)});
}

// The length of the union of the spans of that kind.
double Trace::busy_seconds(Kind kind) const {
  std::vector<std::pair<int64_t, int64_t>> ranges;
  for (const Span& span : spans_) {
    if (span.kind == kind) ranges.emplace_back(span.begin_ns, span.end_ns);
  }
  std::sort(ranges.begin(), ranges.end());
  int64_t sum = 0, reached = INT64_MIN;
  for (const auto& [begin, end] : ranges) {
    if (end <= reached) continue;
    sum += end - std::max(begin, reached);
    reached = end;
  }
  return double(sum) * 1e-9;
}

std::string Trace::text() const {
  const std::lock_guard<std::mutex> guard(mutex_);
  std::string out = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[";
  for (size_t i = 0; i < thread_names_.size(); ++i) {
    out += cat(i == 0 ? "\n" : ",\n", R"({"name":"thread_name","ph":"M","pid":1,"tid":)", i, R"(,"args":{"name":)",
               Json(thread_names_[i]).dump(), "}}");
  }
  int64_t first = INT64_MAX, last = 0;
  for (const Span& span : spans_) {
    first = std::min(first, span.begin_ns);
    last = std::max(last, span.end_ns);
    Json args = Json::object();
    if (span.block >= 0) args.set("block", span.block);
    if (!span.module.empty()) args.set("module", span.module);
    out += cat(",\n{\"name\":", Json(span.name).dump(), R"(,"cat":")", name_of(span.kind), R"(","ph":"X","ts":)",
               microseconds(span.begin_ns), R"(,"dur":)", microseconds(span.end_ns - span.begin_ns),
               R"(,"pid":1,"tid":)", span.thread, R"(,"args":)", args.dump(), "}");
  }
  const double seconds = spans_.empty() ? 0 : double(last - first) * 1e-9;
  Json busy = Json::object(), other = Json::object();
  for (const Kind kind : {Kind::Disk, Kind::Compute})
    busy.set(name_of(kind), seconds > 0 ? busy_seconds(kind) / seconds : 0.0);
  other.set("seconds", seconds);
  other.set("busy", std::move(busy));
  other.set("dropped", dropped_);
  return out + "\n],\"otherData\":" + other.dump() + "}\n";
}

}  // namespace swage
