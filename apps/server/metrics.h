// What Prometheus reads: the engine's state, and what requests took.
#pragma once
#include <array>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "swage/swage.h"

namespace swage::server {

// Counts in buckets, as Prometheus has them.
class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds) : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}
  void add(double value, uint64_t times = 1);
  void write(const std::string& name, const std::string& help, std::string& out) const;
  double mean() const { return count_ == 0 ? 0 : sum_ / double(count_); }

 private:
  std::vector<double> bounds_;  // upper ends, the last bucket has none
  std::vector<uint64_t> counts_;
  double sum_ = 0;
  uint64_t count_ = 0;
};

// Thread-safe.
class Metrics {
 public:
  Metrics();
  void first_token(double seconds);
  void next_tokens(double seconds, uint64_t tokens);  // between one event and the one before, and what came
  void finished(double seconds, double queue_seconds);
  void choice_finished(const std::string& reason);
  void answered(int status);
  double mean_request_seconds() const;
  // In Prometheus' text form.
  std::string text(const Json& engine, uint64_t connections) const;

 private:
  mutable std::mutex mutex_;
  Histogram first_token_, between_, request_, queue_;
  std::map<std::string, uint64_t> finishes_;
  std::map<int, uint64_t> statuses_;
};

}  // namespace swage::server
