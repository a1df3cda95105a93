#include "apps/server/live.h"

namespace swage::server {

void Live::add(runtime::RequestId request) {
  {
    const std::lock_guard lock(mutex_);
    requests_.push_back(request);
    if (end_ == End::None) return;
  }
  engine_.cancel(request);
}

void Live::stop(End how) {
  std::vector<runtime::RequestId> requests;
  {
    const std::lock_guard lock(mutex_);
    if (end_ != End::None) return;
    end_ = how;
    requests = requests_;
  }
  for (const runtime::RequestId request : requests) engine_.cancel(request);
}

Live::End Live::end() const {
  const std::lock_guard lock(mutex_);
  return end_;
}

std::shared_ptr<Live> LiveRequests::begin(Engine& engine, uint64_t id) {
  auto live = std::make_shared<Live>(engine, id);
  const std::lock_guard lock(mutex_);
  live_[id] = live;
  return live;
}

void LiveRequests::finish(uint64_t id) {
  const std::lock_guard lock(mutex_);
  live_.erase(id);
}

std::shared_ptr<Live> LiveRequests::find(uint64_t id) const {
  const std::lock_guard lock(mutex_);
  const auto found = live_.find(id);
  return found == live_.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<Live>> LiveRequests::all() const {
  std::vector<std::shared_ptr<Live>> out;
  const std::lock_guard lock(mutex_);
  for (const auto& [id, live] : live_) out.push_back(live);
  return out;
}

void LiveRequests::gone(uint64_t id) {
  if (const std::shared_ptr<Live> live = find(id)) live->stop(Live::End::Gone);
}

void LiveRequests::stop_older_than(std::chrono::duration<double> age) {
  const Clock::time_point now = Clock::now();
  for (const std::shared_ptr<Live>& live : all()) {
    if (now - live->began() > age) live->stop(Live::End::TimedOut);
  }
}

void LiveRequests::stop_all() {
  for (const std::shared_ptr<Live>& live : all()) live->stop(Live::End::ShutDown);
}

size_t LiveRequests::count() const {
  const std::lock_guard lock(mutex_);
  return live_.size();
}

}  // namespace swage::server
