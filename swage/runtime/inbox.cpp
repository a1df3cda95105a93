#include "swage/runtime/inbox.h"

#include <utility>

namespace swage::runtime {

RequestId Inbox::put(std::unique_ptr<Group> group) {
  RequestId id = 0;
  {
    const std::lock_guard lock(mutex_);
    id = group->id = ++last_id_;
    content_.groups.push_back(std::move(group));
  }
  arrived_.notify_one();
  return id;
}

void Inbox::cancel(RequestId request) {
  {
    const std::lock_guard lock(mutex_);
    content_.cancelled.push_back(request);
  }
  arrived_.notify_one();
}

Inbox::Content Inbox::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(content_, {});
}

void Inbox::wait(std::chrono::milliseconds most) {
  std::unique_lock lock(mutex_);
  arrived_.wait_for(lock, most, [this] { return !content_.groups.empty() || !content_.cancelled.empty(); });
}

int64_t Inbox::waiting() const {
  const std::lock_guard lock(mutex_);
  int64_t answers = 0;
  for (const auto& group : content_.groups) answers += int64_t(group->sequences.size());
  return answers;
}

}  // namespace swage::runtime
