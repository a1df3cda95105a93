// The server's threads beside the transport's: one that steps the engine, a few that read requests.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "apps/server/service.h"

namespace swage::server {

// Steps the engine until it is destroyed.
class EngineThread {
 public:
  EngineThread(Service& service, std::function<void(const std::string&)> warn);
  ~EngineThread();

 private:
  void run();

  Service& service_;
  const std::function<void(const std::string&)> warn_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// Threads that take calls in the order in which they came.
class Workers {
 public:
  Workers(size_t threads, std::function<void(Call)> work);
  ~Workers();  // waits for those that are being worked on
  void push(Call call);

 private:
  void run();

  const std::function<void(Call)> work_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<Call> calls_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace swage::server
