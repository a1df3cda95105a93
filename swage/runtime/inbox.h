// Where requests and cancellations wait for the engine's thread.
#pragma once
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "swage/runtime/sequence.h"

namespace swage::runtime {

// Thread-safe.
class Inbox {
 public:
  struct Content {
    std::vector<std::unique_ptr<Group>> groups;
    std::vector<RequestId> cancelled;
  };

  // Numbers the group.
  RequestId put(std::unique_ptr<Group> group);
  void cancel(RequestId request);
  Content take();
  // Until there is something, or for so long.
  void wait(std::chrono::milliseconds most);
  int64_t waiting() const;  // answers

 private:
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  Content content_;
  RequestId last_id_ = 0;
};

}  // namespace swage::runtime
