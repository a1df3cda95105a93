// Requests that are being answered: whose client is gone, and whose time is up.
#pragma once
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "swage/swage.h"

namespace swage::server {

using Clock = std::chrono::steady_clock;

// One HTTP request and what it has in the engine. Thread-safe.
class Live {
 public:
  enum class End { None, Gone, TimedOut, ShutDown };

  Live(Engine& engine, uint64_t id) : engine_(engine), id_(id) {}
  // Belongs to it from now on; cancelled at once if it has ended meanwhile.
  void add(runtime::RequestId request);
  // Cancels all that it has in the engine. The first end counts.
  void stop(End how);
  End end() const;
  bool is_gone() const { return end() != End::None; }
  Clock::time_point began() const { return began_; }
  uint64_t id() const { return id_; }

 private:
  Engine& engine_;
  const uint64_t id_;
  const Clock::time_point began_ = Clock::now();
  mutable std::mutex mutex_;
  End end_ = End::None;
  std::vector<runtime::RequestId> requests_;
};

// Of all of them, by the transport's numbers. Thread-safe.
class LiveRequests {
 public:
  std::shared_ptr<Live> begin(Engine& engine, uint64_t id);
  void finish(uint64_t id);
  void gone(uint64_t id);
  // Those that have taken longer.
  void stop_older_than(std::chrono::duration<double> age);
  void stop_all();
  size_t count() const;

 private:
  std::shared_ptr<Live> find(uint64_t id) const;
  std::vector<std::shared_ptr<Live>> all() const;

  mutable std::mutex mutex_;
  std::map<uint64_t, std::shared_ptr<Live>> live_;
};

}  // namespace swage::server
