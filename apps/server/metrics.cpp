#include "apps/server/metrics.h"

#include <algorithm>

#include "swage/base/memory.h"

namespace swage::server {
namespace {

void head(const std::string& name, const char* type, const std::string& help, std::string& out) {
  out += cat("# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n");
}

void single(const std::string& name, const char* type, const std::string& help, double value, std::string& out) {
  head(name, type, help, out);
  out += cat(name, " ", Json(value).dump(), "\n");
}

struct Row {
  const char* member;
  const char* name;
  const char* type;
  const char* help;
};

// What the engine says of itself.
constexpr std::array<Row, 10> kEngine = {{
    {"running", "swage_requests_running", "gauge", "answers that are being made"},
    {"waiting", "swage_requests_waiting", "gauge", "answers that wait"},
    {"requests", "swage_requests_total", "counter", "requests that the engine took"},
    {"prompt_tokens", "swage_prompt_tokens_total", "counter", "tokens of prompts that were computed"},
    {"new_tokens", "swage_generation_tokens_total", "counter", "tokens that were made"},
    {"cached_tokens", "swage_prefix_cache_hits_total", "counter", "tokens of prompts that were found in the cache"},
    {"preemptions", "swage_preemptions_total", "counter", "sequences that gave their blocks back"},
    {"steps", "swage_steps_total", "counter", "steps of the engine"},
    {"cache_blocks", "swage_cache_blocks", "gauge", "blocks of the cache"},
    {"cache_blocks_kept", "swage_cache_blocks_kept", "gauge",
     "blocks that nobody uses, kept for prompts that begin alike"},
}};

void write_engine(const Json& engine, std::string& out) {
  for (const Row& row : kEngine) single(row.name, row.type, row.help, double(engine.get_int(row.member, 0)), out);
  const auto blocks = double(engine.get_int("cache_blocks", 0));
  const auto idle = double(engine.get_int("cache_blocks_free", 0) + engine.get_int("cache_blocks_kept", 0));
  single("swage_cache_usage_ratio", "gauge", "share of the cache's blocks that are in use, 0 to 1",
         blocks > 0 ? (blocks - idle) / blocks : 0, out);
  const double queried = double(engine.get_int("prompt_tokens", 0) + engine.get_int("cached_tokens", 0));
  single("swage_prefix_cache_queries_total", "counter", "tokens of prompts that were looked for in the cache", queried,
         out);
  // Names that dashboards and autoscalers of other servers look for.
  single("vllm:num_requests_running", "gauge", "as swage_requests_running", double(engine.get_int("running", 0)), out);
  single("vllm:num_requests_waiting", "gauge", "as swage_requests_waiting", double(engine.get_int("waiting", 0)), out);
  single("tgi_queue_size", "gauge", "as swage_requests_waiting", double(engine.get_int("waiting", 0)), out);
  single("tgi_batch_current_size", "gauge", "as swage_requests_running", double(engine.get_int("running", 0)), out);
}

}  // namespace

void Histogram::add(double value, uint64_t times) {
  const auto at = std::lower_bound(bounds_.begin(), bounds_.end(), value);
  counts_[size_t(at - bounds_.begin())] += times;
  sum_ += value * double(times);
  count_ += times;
}

void Histogram::write(const std::string& name, const std::string& help, std::string& out) const {
  head(name, "histogram", help, out);
  uint64_t below = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    below += counts_[i];
    out += cat(name, "_bucket{le=\"", i < bounds_.size() ? Json(bounds_[i]).dump() : "+Inf", "\"} ", below, "\n");
  }
  out += cat(name, "_sum ", Json(sum_).dump(), "\n", name, "_count ", count_, "\n");
}

Metrics::Metrics()
    : first_token_({0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0}),
      between_({0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5}),
      request_({0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0}),
      queue_({0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0}) {}

void Metrics::first_token(double seconds) {
  const std::lock_guard lock(mutex_);
  first_token_.add(seconds);
}

void Metrics::next_tokens(double seconds, uint64_t tokens) {
  if (tokens == 0) return;
  const std::lock_guard lock(mutex_);
  between_.add(seconds / double(tokens), tokens);
}

void Metrics::finished(double seconds, double queue_seconds) {
  const std::lock_guard lock(mutex_);
  request_.add(seconds);
  queue_.add(queue_seconds);
}

void Metrics::choice_finished(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  ++finishes_[reason];
}

void Metrics::answered(int status) {
  const std::lock_guard lock(mutex_);
  ++statuses_[status];
}

double Metrics::mean_request_seconds() const {
  const std::lock_guard lock(mutex_);
  return request_.mean();
}

std::string Metrics::text(const Json& engine, uint64_t connections) const {
  std::string out;
  write_engine(engine, out);
  single("swage_connections", "gauge", "connections that are open", double(connections), out);
  single("swage_resident_bytes", "gauge", "memory of the process", double(current_rss_bytes()), out);
  const std::lock_guard lock(mutex_);
  first_token_.write("swage_time_to_first_token_seconds", "from a request's arrival to its first token", out);
  between_.write("swage_time_per_output_token_seconds", "between tokens of an answer", out);
  request_.write("swage_request_duration_seconds", "from a request's arrival to its last token", out);
  queue_.write("swage_request_queue_seconds", "from a request's arrival to its submission to the engine", out);
  head("swage_finished_total", "counter", "answers by what ended them", out);
  for (const auto& [reason, count] : finishes_)
    out += cat("swage_finished_total{reason=\"", reason, "\"} ", count, "\n");
  head("swage_responses_total", "counter", "responses by status", out);
  for (const auto& [status, count] : statuses_)
    out += cat("swage_responses_total{status=\"", status, "\"} ", count, "\n");
  return out;
}

}  // namespace swage::server
