#include "apps/server/threads.h"

#include <utility>

namespace swage::server {
namespace {

constexpr std::chrono::milliseconds kIdle{200};  // that a thread waits before it looks whether it should end

}  // namespace

EngineThread::EngineThread(Service& service, std::function<void(const std::string&)> warn)
    : service_(service),
      warn_(std::move(warn)),
      thread_([this] { run(); }) {}

EngineThread::~EngineThread() {
  stop_ = true;
  thread_.join();
}

void EngineThread::run() {
  try {
    while (!stop_) {
      if (!service_.engine.step()) service_.engine.wait(kIdle);
    }
  } catch (const std::exception& e) {
    warn_(cat("the engine has ended: ", e.what()));
    service_.engine_failed = true;
  }
}

Workers::Workers(size_t threads, std::function<void(Call)> work) : work_(std::move(work)) {
  for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
}

Workers::~Workers() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  arrived_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Workers::push(Call call) {
  {
    const std::lock_guard lock(mutex_);
    calls_.push_back(std::move(call));
  }
  arrived_.notify_one();
}

void Workers::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    arrived_.wait(lock, [this] { return stop_ || !calls_.empty(); });
    if (calls_.empty()) return;
    Call call = std::move(calls_.front());
    calls_.pop_front();
    lock.unlock();
    work_(std::move(call));
    lock.lock();
  }
}

}  // namespace swage::server
